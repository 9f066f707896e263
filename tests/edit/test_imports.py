import keyword

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from scaffold_tools.edit import add_import_from, imported_names
from scaffold_tools.edit.order import natural
from scaffold_tools.errors import BadInput
from scaffold_tools.render import lint_many

CASES = {
    "between its neighbours, exploded like them": (
        "from p.models.aa import (\n    Aa,\n)\nfrom p.models.cc import (\n    Cc,\n)\n\n\nx = 1\n",
        ("p.models.bb", ["Bz", "Ba"]),
        "from p.models.aa import (\n    Aa,\n)\nfrom p.models.bb import (\n    Ba,\n    Bz,\n)\n"
        "from p.models.cc import (\n    Cc,\n)\n\n\nx = 1\n",
    ),
    "on one line where the neighbours are": (
        "from p.models.aa import Aa\nfrom p.models.cc import Cc\n",
        ("p.models.bb", ["Bb"]),
        "from p.models.aa import Aa\nfrom p.models.bb import Bb\nfrom p.models.cc import Cc\n",
    ),
    "with the noqa that the neighbours have": (
        "from p.aa import Aa  # noqa: F401\nfrom p.cc import Cc  # noqa: F401\n",
        ("p.bb", ["Bb"]),
        "from p.aa import Aa  # noqa: F401\nfrom p.bb import Bb  # noqa: F401\nfrom p.cc import Cc  # noqa: F401\n",
    ),
    "digits count as numbers": (
        "from p.m3 import A\nfrom p.m25 import B\n",
        ("p.m7", ["C"]),
        "from p.m3 import A\nfrom p.m7 import C\nfrom p.m25 import B\n",
    ),
    "first of the block, below the comment that heads it": (
        '"""Doc."""\n\n# Providers\nfrom p.bb import Bb\n\n\nx = 1\n',
        ("p.aa", ["Aa"]),
        '"""Doc."""\n\n# Providers\nfrom p.aa import Aa\nfrom p.bb import Bb\n\n\nx = 1\n',
    ),
    "into an exploded import of the same module, comments kept": (
        "from p.aa import (\n    Ab,  # b\n    # about d\n    Ad,  # d\n)  # end\n",
        ("p.aa", ["Ac", "Ae", "Aa"]),
        "from p.aa import (\n    Aa,\n    Ab,  # b\n    Ac,\n    # about d\n    Ad,  # d\n    Ae,\n)  # end\n",
    ),
    "into an exploded import without a final comma": (
        "from p.aa import (\n    Ab,\n    Ac\n)\n",
        ("p.aa", ["Ad"]),
        "from p.aa import (\n    Ab,\n    Ac,\n    Ad,\n)\n",
    ),
    "into a one-line import of the same module, noqa and alias kept": (
        "from p.aa import Ac as C, Ab  # noqa: F401\n",
        ("p.aa", ["Aa"]),
        "from p.aa import Aa, Ab, Ac as C  # noqa: F401\n",
    ),
    "into a one-line import that then is too long": (
        "from p.aa import " + "A" * 60 + "x\n",
        ("p.aa", ["B" * 60 + "x"]),
        "from p.aa import (\n    " + "A" * 60 + "x,\n    " + "B" * 60 + "x,\n)\n",
    ),
    "with carriage returns and a byte order mark": (
        "\ufefffrom p.aa import (\r\n    Aa,\r\n)\r\nx = 1",
        ("p.bb", ["Bb"]),
        "\ufefffrom p.aa import (\r\n    Aa,\r\n)\r\nfrom p.bb import (\r\n    Bb,\r\n)\r\nx = 1",
    ),
    "at the end of a file without a final newline": (
        "from p.aa import Aa",
        ("p.bb", ["Bb"]),
        "from p.aa import Aa\nfrom p.bb import Bb",
    ),
    "mixed line ends stay mixed": (
        "from p.aa import Aa\nx = 1\r\ny = 2\n",
        ("p.bb", ["Bb"]),
        "from p.aa import Aa\nfrom p.bb import Bb\nx = 1\r\ny = 2\n",
    ),
    "behind foreign imports, as a section of its own": (
        '"""Doc."""\n\nimport os\n\n\nx = os\n',
        ("p.bb", ["Bb"]),
        '"""Doc."""\n\nimport os\n\nfrom p.bb import Bb\n\n\nx = os\n',
    ),
}


@pytest.mark.parametrize("before, call, after", CASES.values(), ids=CASES)
def test_an_import_goes_where_a_maintainer_would_put_it(before, call, after):
    edited = add_import_from(before.encode(), *call)
    assert edited.decode() == after
    assert add_import_from(edited, *call) == edited


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    from p.aa import Aa\nexcept ImportError:\n    Aa = None\n",
        "if True:\n    from p.aa import Aa\n",
        "from p.aa import (Aa, Bb)\n",
    ],
)
def test_a_name_that_is_imported_already_is_not_imported_twice(source):
    assert add_import_from(source.encode(), "p.aa", ["Aa"]) == source.encode()


def test_a_name_from_elsewhere_is_refused():
    with pytest.raises(BadInput, match=r"imported from p\.other"):
        add_import_from(b"from p.other import Aa\n", "p.aa", ["Aa"])


@pytest.mark.parametrize(
    "module, name", [("p.aa; import os", "Aa"), ("p.aa", "Aa\nimport os"), ("p..aa", "A"), ("p", "class")]
)
def test_what_is_no_name_is_refused(module, name):
    with pytest.raises(BadInput):
        add_import_from(b"", module, [name])


@pytest.mark.parametrize(
    "source", [b"(" * 5000 + b")" * 5000, b"def f(:\n", b"x = '\x00'\n", b"\xff = 1\n", b"# coding: nope\n"]
)
def test_source_that_does_not_parse_is_one_clear_line(source):
    with pytest.raises(BadInput, match="does not parse as Python"):
        add_import_from(source, "p.aa", ["Aa"])


name_part = st.from_regex(r"[a-z][a-z_]{0,4}([1-9][0-9]?)?[a-z_]{0,3}", fullmatch=True).filter(
    lambda text: not keyword.iskeyword(text)
)
module_names = st.lists(name_part, min_size=1, max_size=8, unique_by=natural)


@settings(max_examples=12, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # a shrink runs for minutes
@given(st.lists(st.tuples(module_names, name_part, st.booleans(), st.booleans()), min_size=20, max_size=20))
def test_the_targets_linter_finds_the_imports_sorted_wherever_the_new_one_goes(samples):
    """Made by hypothesis, judged by ruff's own import sorting; many files to one process."""
    files = {}
    for index, (names, new, exploded, comments) in enumerate(samples):
        lines = []
        for name in sorted(names, key=natural):
            cls = f"{name.title().replace('_', '')}Bridge"
            members = f"(\n    {cls},{'  # x' if comments else ''}\n)" if exploded else cls
            lines.append(f"from megatron.bridge.models.{name} import {members}\n")
        source = "".join(lines).encode() + b"\n\nx = 1\n"
        edited = add_import_from(source, f"megatron.bridge.models.{new}", ["NewBridge", "NewABridge", "New10Bridge"])
        assert imported_names(edited)["NewBridge"] == f"megatron.bridge.models.{new}"
        files[f"f{index}/__init__.py"] = edited.decode()
    assert [finding for finding in lint_many(files) if finding.code in ("I001", "syntax", "format")] == []


def test_the_linter_of_the_property_above_sees_a_wrong_order():
    source = "from megatron.bridge.b import B\nfrom megatron.bridge.a import A\n\n\nx = A, B\n"
    assert [finding.code for finding in lint_many({"m/__init__.py": source})] == ["I001"]
