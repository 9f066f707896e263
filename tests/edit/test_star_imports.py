"""Star imports and relative imports are added where a maintainer would add them, as before -> after text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaffold_tools.edit.relative_imports import add_relative_import, imports_relatively
from scaffold_tools.edit.star_imports import add_star_import
from scaffold_tools.errors import BadInput
from scaffold_tools.render import lint_python

PACKAGE = b'''"""All recipes."""

from a.recipes.gemma import *
from a.recipes.gemma.h100 import *
from a.recipes.gemma3_vl import *
from a.recipes.qwen import *
'''

RELATIVE = b"""# Llama 2 models
from .llama2 import (
    llama2_7b_config,
)

# Llama 3 models
from .llama3 import (
    llama3_8b_config,
)


__all__ = ["llama2_7b_config", "llama3_8b_config"]
"""


def added(before: bytes, after: bytes) -> list[str]:
    old = before.decode().splitlines()
    return [line for line in after.decode().splitlines() if line not in old]


@pytest.mark.parametrize(
    ("module", "behind"),
    [
        ("a.recipes.aya", '"""All recipes."""\n\n'),
        ("a.recipes.gemma.gb200", "from a.recipes.gemma import *\n"),
        ("a.recipes.gemma2", "from a.recipes.gemma.h100 import *\n"),
        ("a.recipes.zamba", "from a.recipes.qwen import *\n"),
    ],
)
def test_a_star_import_stands_at_its_sorted_place(module, behind):
    after = add_star_import(PACKAGE, module).decode()
    assert f"{behind}from {module} import *\n" in after
    assert add_star_import(after.encode(), module) == after.encode(), "a second time changes nothing"


def test_the_comment_of_its_like_is_taken_over():
    noted = PACKAGE.replace(b"import *", b"import *  # noqa: F403")
    assert b"from a.recipes.phi import *  # noqa: F403\n" in add_star_import(noted, "a.recipes.phi")
    once = PACKAGE.replace(b"import *", b"import *  # noqa: F403", 1)
    assert b"from a.recipes.phi import *\n" in add_star_import(once, "a.recipes.phi")


def test_a_file_without_star_imports_is_refused_and_a_hostile_module_too():
    with pytest.raises(BadInput, match="no star import"):
        add_star_import(b"import os\n", "a.b")
    with pytest.raises(BadInput):
        add_star_import(PACKAGE, "a.b import os\nimport sys #")


@settings(max_examples=30)
@given(st.lists(st.from_regex(r"[a-z_]{1,6}", fullmatch=True), unique=True, min_size=1, max_size=8), st.data())
def test_any_order_of_adding_ends_the_same(names, data):
    shuffled = data.draw(st.permutations(names))
    sources = []
    for order in (names, shuffled):
        source = b"from a.recipes.mmm import *\n"
        for name in order:
            source = add_star_import(source, f"a.recipes.{name}")
        sources.append(source)
    assert sources[0] == sources[1]


def test_line_ends_and_bom_stay():
    crlf = b"\xef\xbb\xbf" + PACKAGE.replace(b"\n", b"\r\n")
    after = add_star_import(crlf, "a.recipes.phi")
    assert after.replace(b"from a.recipes.phi import *\r\n", b"") == crlf


def test_a_relative_import_joins_the_others():
    after = add_relative_import(RELATIVE, "llama2_13b", ["llama2_13b_config", "llama2_13b_sft_config"])
    assert added(RELATIVE, after) == [
        "from .llama2_13b import (",
        "    llama2_13b_config,",
        "    llama2_13b_sft_config,",
    ]
    assert after.index(b".llama2 ") < after.index(b".llama2_13b ") < after.index(b"# Llama 3 models")
    assert add_relative_import(after, "llama2_13b", ["llama2_13b_config"]) == after
    assert [row for row in lint_python(after.decode()) if row.code == "I001"] == []


def test_which_style_a_package_has_is_counted():
    assert imports_relatively(RELATIVE)
    assert not imports_relatively(PACKAGE)
    assert not imports_relatively(b"")
