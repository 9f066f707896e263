import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render.test_literals import HOSTILE, hostile
from scaffold_tools.errors import BadInput
from scaffold_tools.render import Renderer, UnsafeRender
from scaffold_tools.render.renderer import TemplateBroken

MODULE = '''"""{{ title|docstring }}"""

{% from "macros.j2" import listed %}
from {{ package|dotted }}.{{ name|identifier }} import {{ name|identifier }}Bridge  # {{ title|comment }}


{% for key in keys %}
{{ name|identifier }}_{{ loop.index|literal }} = {{ key|literal }}
{% endfor %}


class {{ name|identifier }}Bridge:
    """About {{ title|docstring }}.

    Named "{{ name|identifier }}".
    """

    # {{ title|comment }}
    table = {{ listed(keys) }}
    text = {{ title|string }}
    scale = hf_config.{{ name|identifier }}.x * ({{ rule|expression }})

    def {{ name|identifier }}(self, {{ name|identifier }}={{ keys|literal }}):
        return {{ package|dotted }}.get({{ title|literal }})
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("templates")
    (folder / "macros.j2").write_text(
        "{% macro listed(items) %}[{% for i in items %}{{ i|literal }}, {% endfor %}]{% endmacro %}"
    )
    (folder / "module.py.j2").write_text(MODULE)
    return folder


def render(folder, text, *, suffix=".py", **context):
    (folder / f"case{suffix}.j2").write_text(text)
    return Renderer(folder).render(f"case{suffix}.j2", context)


@settings(max_examples=60)
@given(hostile, st.lists(st.one_of(hostile, st.integers(), st.floats(allow_nan=False)), max_size=3))
def test_hostile_values_in_every_position_never_add_statements(folder, title, keys):
    context = {"title": title, "keys": keys, "name": "Model", "package": "a.b", "rule": "hf_config.dim**-0.5"}
    tree = ast.parse(Renderer(folder).render("module.py.j2", context).encode())
    kinds = [type(node).__name__ for node in tree.body]
    assert kinds == ["Expr", "ImportFrom", *["Assign"] * len(keys), "ClassDef"]
    assert [type(node).__name__ for node in tree.body[-1].body] == [
        "Expr",
        "Assign",
        "Assign",
        "Assign",
        "FunctionDef",
    ]
    assert ast.literal_eval(tree.body[-1].body[2].value) == title
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    assert {node.func.id for node in calls} <= {"float"}


@pytest.mark.parametrize("filter_name", ["identifier", "dotted", "expression"])
@pytest.mark.parametrize("value", HOSTILE)
def test_code_positions_refuse_hostile_values(folder, filter_name, value):
    with pytest.raises(BadInput):
        render(folder, "x = {{ v|" + filter_name + " }}\n", v=value + ";")


UNSAFE = {
    "a literal inside quotes": ('x = "{{ v|literal }}"\n', 'a" + evil() + "'),
    "a literal inside single quotes": ("x = '{{ v|literal }}'\n", "a' + evil() + '"),
    "a literal inside a docstring": ('def f():\n    """{{ v|literal }}"""\n', '"""\n    evil()\n    """'),
    "a string filter inside a docstring": ("'''{{ v|string }}'''\n", "'''+evil()+'''"),
    "prose in expression position": ("x = {{ v|docstring }}\n", "evil()"),
    "prose that becomes a statement": ("{{ v|comment }}\n", "import os"),
    "prose between single quotes": ("x = ['{{ v|comment }}', 1]\n", "don't, evil(), 'x"),
    "Markdown in code": ("x = {{ v|md }}\n", "evil()"),
    "shell in code": ("x = {{ v|sh }}\n", "a.b"),
    "an expression without brackets": ("x = 2 * {{ v|expression }}\n", "a + b"),
    "prose in a name": ("{{ v|comment }}Bridge = 1\n", "a"),
    "prose in a keyword": ("f({{ v|comment }}=1)\n", "a"),
}


@pytest.mark.parametrize("template, value", UNSAFE.values(), ids=UNSAFE)
def test_an_unsafe_template_is_caught_by_the_shape_of_its_result(folder, template, value):
    with pytest.raises(UnsafeRender):
        render(folder, template, v=value)


@pytest.mark.parametrize("template", [row[0] for row in UNSAFE.values() if "literal" in row[0]])
def test_the_same_template_passes_while_the_value_is_harmless(folder, template):
    assert render(folder, template, v=3)


@pytest.mark.parametrize(
    "template",
    [
        "x = {{ v }}\n",
        "x = {{ 3 }}\n",
        "x = {{ v|upper }}\n",
        "x = {{ v ~ (v|literal) }}\n",
        "x = {{ v|literal|replace('a', v) }}\n",
        "x = {{ [v]|join }}\n",
        "x = {{ v|safe }}\n",
        "x = {{ v|tojson }}\n",
        "{% set y %}{{ v|literal }}{% endset %}x = {{ y }}\n",
        "{% macro m() %}{{ v }}{% endmacro %}x = {{ m() }}\n",
        "x = {{ 'a' if v else v }}\n",
        "{% filter replace('X', v) %}x = X{% endfilter %}\n",
    ],
)
def test_a_value_without_a_filter_is_an_error(folder, template):
    with pytest.raises(UnsafeRender):
        render(folder, template, v="evil()")


def test_blocks_macros_and_indented_blocks_work(folder):
    text = (
        "{% macro m(a) %}{{ a|literal }}{% if caller is defined %}, {{ caller() }}{% endif %}{% endmacro %}"
        "x = [{{ m(v) }}, {% call m(1) %}{{ v|string }}{% endcall %}]\n"
        "if x:\n{% filter indent(4, true) %}y = {{ v|literal }}\nz = 1{% endfilter %}\n"
    )
    assert render(folder, text, v="a") == 'x = ["a", 1, "a"]\nif x:\n    y = "a"\n    z = 1'


def test_a_coding_line_cannot_be_smuggled_in(folder):
    with pytest.raises(UnsafeRender, match="encoding"):
        render(folder, "# -*- cod{{ v|identifier }}: latin-1 -*-\nx = 1\n", v="ing")
    assert "coding:" not in render(folder, "# {{ v|comment }}\n", v="-*- coding: latin-1 -*-")


def test_missing_names_and_templates_are_named(folder):
    with pytest.raises(TemplateBroken, match="'nothing' is undefined"):
        render(folder, "x = {{ nothing|literal }}\n")
    with pytest.raises(TemplateBroken, match=r"absent\.py"):
        Renderer(folder).render("absent.py", {})
    with pytest.raises(TemplateBroken, match=r"case\.py"):
        render(folder, "{% if %}\n")


def test_final_newline_and_blocks_are_kept_as_written(folder):
    assert render(folder, "a = 1\n  {% if true %}\nb = {{ 2|literal }}\n  {% endif %}\n\n") == "a = 1\nb = 2\n\n"


@settings(max_examples=40)
@given(hostile)
def test_toml_json_shell_and_markdown_keep_their_shape(folder, value):
    import tomllib

    try:
        text = render(folder, "[a]\nx = {{ v|toml }}\ny = [{{ v|toml }}]\n", suffix=".toml", v=value)
        assert tomllib.loads(text) == {"a": {"x": value, "y": [value]}}
    except BadInput:
        assert any(0xD800 <= ord(char) < 0xE000 for char in value)
    assert render(folder, '{"a": {{ v|json }}}\n', suffix=".json", v=value)
    assert render(folder, "# {{ v|md }}\n\n{{ v|code }}\n", suffix=".md", v=value).count("\n") == 3
    assert render(folder, "a: {{ v|yaml }}\n", suffix=".yml", v=value).count("\n") == 1


def test_unsound_toml_and_shell_templates_are_caught(folder):
    with pytest.raises(UnsafeRender):
        render(folder, 'x = "{{ v|md }}"\n', suffix=".toml", v='a"\ny = "b')
    with pytest.raises(UnsafeRender):
        render(folder, "x = {{ v|toml }}\n[{{ v|toml }}]\nx = 1", suffix=".toml", v=["a"])
    with pytest.raises(UnsafeRender, match="shell"):
        render(folder, "echo '{{ v|sh }}'\n", suffix=".sh", v="a b'")
    assert render(folder, "echo {{ v|sh }}\n", suffix=".sh", v="a'; rm -rf /") == "echo 'a'\"'\"'; rm -rf /'\n"
