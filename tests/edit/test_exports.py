import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaffold_tools.edit import add_to_dunder_all, exported_names
from scaffold_tools.errors import BadInput

GROUPED = """__all__ = [
    "AutoBridge",
    # DeepSeek Models
    "DeepSeekV2Bridge",
    "DeepSeekV3Bridge",  # newest
    # Nemotron Models
    "NemotronBridge",
    "OlMoEBridge",
    # VL Models
    "Qwen25VLModel",
    "Qwen25VLBridge",
]
"""

CASES = {
    "into its group, sorted there, comments kept": (
        GROUPED,
        (["DeepSeekV4Bridge"], {"group_comment": "DeepSeek Models"}),
        GROUPED.replace("# newest\n", '# newest\n    "DeepSeekV4Bridge",\n'),
    ),
    "first of its group, below the title": (
        GROUPED,
        (["DeepSeekBridge"], {"group_comment": "# deepseek models"}),
        GROUPED.replace('    "DeepSeekV2', '    "DeepSeekBridge",\n    "DeepSeekV2'),
    ),
    "a new group where its title sorts among the titles": (
        GROUPED,
        (["Qwen3Bridge", "Qwen3Provider"], {"group_comment": "Qwen3 Models"}),
        GROUPED.replace("    # VL", '    # Qwen3 Models\n    "Qwen3Bridge",\n    "Qwen3Provider",\n    # VL'),
    ),
    "a new last group": (
        GROUPED,
        (["ZBridge"], {"group_comment": "Z Models"}),
        GROUPED.replace('VLBridge",\n]', 'VLBridge",\n    # Z Models\n    "ZBridge",\n]'),
    ),
    "behind its anchor, which has a comment": (
        GROUPED,
        (["ErnieBridge", "ErnieProvider"], {"after": ("DeepSeekV2Bridge", "DeepSeekV3Bridge")}),
        GROUPED.replace("# newest\n", '# newest\n    "ErnieBridge",\n    "ErnieProvider",\n'),
    ),
    "in front of its anchor when there is none behind": (
        GROUPED,
        (["ApertusBridge"], {"after": ("Unknown",), "before": ("OlMoEBridge",)}),
        GROUPED.replace('    "OlMoE', '    "ApertusBridge",\n    "OlMoE'),
    ),
    "sorted into a sorted list": (
        '__all__ = [\n    "A3",\n    "A25",\n]\n',
        (["A7", "A1"], {}),
        '__all__ = [\n    "A1",\n    "A3",\n    "A7",\n    "A25",\n]\n',
    ),
    "at the end of a list that is not sorted": (
        '__all__ = [\n    "C",\n    "A",\n]\n',
        (["B"], {}),
        '__all__ = [\n    "C",\n    "A",\n    "B",\n]\n',
    ),
    "on one line": ('__all__ = ["A", "C"]\n', (["B"], {}), '__all__ = ["A", "B", "C"]\n'),
    "on one line with single elements": ("__all__ = ['A']\n", (["B"], {}), "__all__ = ['A', \"B\"]\n"),
    "into an empty list": ("__all__ = []\n", (["B"], {}), '__all__ = ["B"]\n'),
    "into an empty tuple": ("__all__ = ()\n", (["B"], {}), '__all__ = ("B",)\n'),
    "into a tuple of one": ('__all__ = ("A",)\n', (["B"], {}), '__all__ = ("A", "B")\n'),
    "into a bare tuple": ('__all__ = "A", "B"\n', (["C"], {}), '__all__ = "A", "B", "C"\n'),
    "annotated": ('__all__: list[str] = ["A"]\n', (["B"], {}), '__all__: list[str] = ["A", "B"]\n'),
    "into the last of several": (
        '__all__ = ["A"]\n__all__ += ["M"]\n',
        (["N"], {}),
        '__all__ = ["A"]\n__all__ += ["M", "N"]\n',
    ),
    "into the one with the anchor": (
        '__all__ = ["A"]\n__all__ += ["M"]\n',
        (["B"], {"after": ("A",)}),
        '__all__ = ["A", "B"]\n__all__ += ["M"]\n',
    ),
    "without a final comma, with a comment behind the last": (
        '__all__ = [\n    "A",\n    "B"  # last\n]\n',
        (["C"], {}),
        '__all__ = [\n    "A",\n    "B",  # last\n    "C",\n]\n',
    ),
    "above a comment that ends the list": (
        '__all__ = [\n    "A",\n    # no more\n]\n',
        (["B"], {}),
        '__all__ = [\n    "A",\n    "B",\n    # no more\n]\n',
    ),
    "an exploded tuple": (
        '__all__ = (\n    "A",\n    "C",\n)\n',
        (["B"], {}),
        '__all__ = (\n    "A",\n    "B",\n    "C",\n)\n',
    ),
    "broken into lines when it grows too long": (
        '__all__ = ["' + "A" * 90 + '"]\n',
        (["B" * 20], {}),
        '__all__ = [\n    "' + "A" * 90 + '",\n    "' + "B" * 20 + '",\n]\n',
    ),
    "with carriage returns, a byte order mark and no final newline": (
        '\ufeff__all__ = [\r\n    # X\r\n    "A",\r\n]',
        (["B"], {"group_comment": "Y"}),
        '\ufeff__all__ = [\r\n    # X\r\n    "A",\r\n    # Y\r\n    "B",\r\n]',
    ),
}


@pytest.mark.parametrize("before, call, after", CASES.values(), ids=CASES)
def test_a_name_goes_where_a_maintainer_would_put_it(before, call, after):
    edited = add_to_dunder_all(before.encode(), call[0], **call[1])
    assert edited.decode() == after
    assert add_to_dunder_all(edited, call[0], **call[1]) == edited


@pytest.mark.parametrize(
    "source",
    [
        '__all__ = ["A"] + other\n',
        '__all__ = sorted(["A"])\n',
        '__all__ = ["A"]\n__all__.extend(["B"])\n',
        '__all__ = ["A"]\n__all__.append("B")\n',
        'if True:\n    __all__ = ["A"]\n',
        "__all__ = {'A'}\n",
        '__all__ = [name for name in "ab"]\n',
        "x = 1\n",
    ],
)
def test_a_list_that_is_computed_is_refused_not_guessed(source):
    with pytest.raises(BadInput, match="__all__"):
        add_to_dunder_all(source.encode(), ["New"])


def test_a_module_without_exports_may_be_skipped():
    assert add_to_dunder_all(b"x = 1\n", ["New"], if_missing="skip") == b"x = 1\n"
    assert exported_names(b"x = 1\n") is None


def test_a_hostile_title_stays_one_comment():
    edited = add_to_dunder_all(GROUPED.encode(), ["NewBridge"], group_comment='X\n]\nimport os\r"""\u202e')
    assert len(ast.parse(edited).body) == 1
    assert "NewBridge" in exported_names(edited)


names = st.from_regex(r"[A-Z][a-zA-Z0-9]{0,6}", fullmatch=True)
elements = st.lists(
    st.tuples(names, st.booleans(), st.booleans(), st.integers(0, 2)), max_size=8, unique_by=lambda row: row[0]
)


@st.composite
def export_lists(draw):
    """Export lists in every form that people write, with comments, blank lines and line ends of all kinds."""
    end, indent = draw(st.sampled_from(["\n", "\r\n"])), draw(st.sampled_from(["    ", "\t", "  "]))
    opening, closing = draw(st.sampled_from(["[]", "()"]))
    rows = draw(elements)
    final = draw(st.booleans()) or (opening == "(" and len(rows) == 1)
    head = draw(st.sampled_from(["", "\ufeff", "# c" + end])) + draw(
        st.sampled_from(["__all__ = ", "__all__: object = "])
    )
    if not rows or draw(st.booleans()):
        inner = ", ".join(f'"{row[0]}"' for row in rows) + ("," if rows and final else "")
        return head + opening + inner + closing + draw(st.sampled_from([end, "", end + "x = 1" + end]))
    text = head + opening + end
    for index, (name, above, behind, blank) in enumerate(rows):
        comma = "," if final or index < len(rows) - 1 else ""
        text += end * (blank == 2) + (f"{indent}# {name} group{end}" if above else "")
        text += f'{indent}"{name}"{comma}' + ("  # note" if behind else "") + end
    return text + closing + draw(st.sampled_from([end, ""]))


@settings(max_examples=200)
@given(
    export_lists(),
    st.lists(names, min_size=1, max_size=3, unique=True),
    st.sampled_from([None, "New", "B group"]),
    names,
)
def test_an_edit_adds_the_names_once_and_loses_nothing(text, new, title, anchor):
    source = text.encode()
    before = exported_names(source)
    edited = add_to_dunder_all(source, new, group_comment=title, after=(anchor,))
    after = exported_names(edited)
    assert sorted(after) == sorted({*before, *new})
    assert [name for name in after if name in before] == list(before), "the old order stays"
    assert edited.count(b"#") >= source.count(b"#"), "no comment is lost"
    assert edited.count(b"# note") == source.count(b"# note")
    for name in before:
        assert (
            _line_of(source, name).split(b"#")[1:] == _line_of(edited, name).split(b"#")[1:]
            or b"\n" not in source.strip()
        )
    if b"\r" not in source:
        assert b"\r" not in edited
    assert add_to_dunder_all(edited, new, group_comment=title, after=(anchor,)) == edited
    if before and set(new) <= set(before):
        assert edited == source


def _line_of(source, name):
    return next(line for line in source.splitlines() if b'"' + name.encode() + b'"' in line)
