import ast
import contextlib
import json
import math
import shlex
import subprocess
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaffold_tools.errors import BadInput
from scaffold_tools.render import literals

HOSTILE = [
    '"; import os #',
    "'; import os #",
    '"""\nimport os\n"""',
    "\\",
    '\\"',
    "a\rimport os",
    "a\u2028import os",
    "a\x0cimport os",
    "\u202edesrever",
    "{{ x }}{% raw %}",
    "# coding: latin-1",
    "noqa",
    "\ufb01",  # a ligature: an identifier to Python, folded into other letters
    "class",
    "$(touch /tmp/x)",
    "`id`",
    "a\x00b",
    "\ud800",
    "]] ]>-->",
    "",
]
hostile = st.one_of(
    st.sampled_from(HOSTILE), st.text(), st.text(st.sampled_from("\"'\\#\n\r{}[]()`$|<>*_: =;\x0c\u2028"))
)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), hostile)
plain = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(hostile, inner, max_size=3),
    ),
    max_leaves=12,
)


@given(plain)
def test_a_literal_is_one_line_that_evaluates_to_the_very_value(value):
    text = literals.python_literal(value)
    assert len(text.splitlines()) == 1 and text.isprintable()
    assert repr(ast.literal_eval(text)) == repr(value)


def test_what_has_no_literal_is_written_as_a_call_or_refused():
    assert literals.python_literal([math.inf, -math.inf]) == '[float("inf"), float("-inf")]'
    assert literals.python_literal(-0.0) == "-0.0"
    for value in (object(), {1, 2}, 10**5000, b"x", str):
        with pytest.raises(BadInput):
            literals.python_literal(value)
    deep: list = []
    for _ in range(500):
        deep = [deep]
    with pytest.raises(BadInput, match="nested"):
        literals.python_literal(deep)


@given(hostile)
def test_a_line_of_prose_ends_no_docstring_and_no_comment(text):
    line = literals.one_line(text)
    assert not set(line) & set('"\\\n\r') and line.isprintable() and len(line) <= 400
    for source in (f'"""{line}"""\n', f'"""\n{line}\n"""\n', f"# {line}\n"):
        assert len(ast.parse(source.encode()).body) == source.startswith('"')
    assert literals.one_line(line) == line


def test_prose_keeps_its_apostrophes_and_loses_what_steers_tools():
    assert literals.one_line("Qwen's  new\nmodel") == "Qwen's new model"
    assert "noqa" not in literals.one_line("# noqa: F401")
    assert literals.one_line("type: ignore") == "type - ignore"


@given(hostile)
def test_an_identifier_is_one_or_is_refused(text):
    try:
        checked = literals.checked_identifier(text)
    except BadInput:
        return
    assert checked == text and isinstance(ast.parse(checked, mode="eval").body, ast.Name)


@pytest.mark.parametrize("text", ["class", "\ufb01", "a-b", "1a", "", "a b", "None", "é", None, 3])
def test_what_is_no_identifier_is_refused(text):
    with pytest.raises(BadInput):
        literals.checked_identifier(text)


@pytest.mark.parametrize("text", ["a..b", ".a", "a.class", "a b.c", "a.b()", "a.b\n", ""])
def test_what_is_no_dotted_name_is_refused(text):
    with pytest.raises(BadInput):
        literals.checked_dotted(text)


@pytest.mark.parametrize(
    "source",
    [
        "hf_config.head_dim**-0.5",
        'getattr(hf_config, "x", None) or 3',
        'hf_config.rope_parameters.get("factor", 1.0) * 2',
        '[{"full": 1.0, "sliding": 2.0}[kind] for kind in hf_config.layer_types]',
        "tuple[int, ...] | None",
    ],
)
def test_an_expression_of_the_usual_kinds_passes(source):
    assert literals.checked_expression(source) == source


@pytest.mark.parametrize(
    "source",
    ["__import__('os')", "exec('x')", "a.__class__", "(x := 3)", "lambda: 0", "a\nb", "a; b", "open('x')", "f'{x}'",
     "await x", "a.b()", "x = 1", "*a", "", "[print for print in x if eval('1')]"],
)  # fmt: skip
def test_an_expression_that_could_do_harm_is_refused(source):
    with pytest.raises(BadInput):
        literals.checked_expression(source)


def test_a_call_of_a_named_helper_is_allowed_where_the_caller_says_so():
    with pytest.raises(BadInput):
        literals.checked_expression("rope_theta(hf_config)")
    assert literals.checked_expression("rope_theta(hf_config)", ("rope_theta",)) == "rope_theta(hf_config)"


@given(plain)
def test_toml_and_json_values_read_back_or_are_refused(value):
    with contextlib.suppress(BadInput):
        assert tomllib.loads(f"v = {literals.toml_value(value)}")["v"] == _lists(value)
    try:
        text = literals.json_value(value)
    except BadInput:
        return
    assert text.isascii() and len(text.splitlines()) == 1
    assert json.loads(text) == _lists(value)


def _lists(value):
    if isinstance(value, (list, tuple)):
        return [_lists(item) for item in value]
    return {key: _lists(item) for key, item in value.items()} if isinstance(value, dict) else value


@given(hostile)
def test_a_shell_word_is_one_word(text):
    try:
        word = literals.shell_word(text)
    except BadInput:
        return
    assert shlex.split(word) == [text]


@settings(max_examples=20)
@given(hostile.filter(lambda text: text.isprintable() and text.isascii()))
def test_a_real_shell_reads_the_word_back(text):
    done = subprocess.run(["sh", "-c", f"printf %s {literals.shell_word(text)}"], capture_output=True, check=True)
    assert done.stdout.decode() == text


@given(hostile)
def test_markdown_text_stays_one_line_without_active_markup(text):
    line = literals.markdown_text(text)
    assert len(line.splitlines()) <= 1
    assert not set(line) & set("<>@")
    assert "://" not in line


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Qwen3-8B", "Qwen3-8B"),
        ("rope_theta", "rope_theta"),
        ("_x_", "\\_x\\_"),
        ("[a](javascript:x)", "\\[a\\](javascript:x)"),
        ("<script>", "&lt;script&gt;"),
        ("a | b", "a \\| b"),
        ("# title", "\\# title"),
        ("- item", "\\- item"),
        ("1. item", "1\\. item"),
        ("@org/team", "(at)org/team"),
    ],
)
def test_markdown_text_reads_as_it_is(text, expected):
    assert literals.markdown_text(text) == expected


def test_a_code_span_cannot_be_left():
    assert literals.markdown_code("a`b|c\nd") == "`a'b\N{BROKEN BAR}c d`"
