import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaffold_tools.edit.markdown import add_table_row, add_toctree_entry, linked_row
from scaffold_tools.errors import BadInput

TABLE = """# Models

```
| Family | Docs |
|---|---|
| in a fence | x |
```

| Family | Docs |
|--------|------|
| **Bailing** | [Ling](a/b.md) |
| **GLM** | [GLM-4](glm/4.md), [GLM-5](glm/5.md) |
| **Qwen** | [Q \\| R](q.md) |

Text | with a pipe.

| Other | Table |
|:-:|--:|
| 1 | 2 |
"""

TREE = """# Docs

```{toctree}
:caption: Guides
:hidden:

zebra.md
apple.md
```

```python
{toctree}
```

:::{toctree}
---
caption: "Supported Models"
---
models/README.md
models/glm/index.md
Qwen models <models/qwen/index.md>
:::
"""


def test_a_row_goes_to_its_sorted_place_in_the_right_table():
    edited = add_table_row(TABLE.encode(), ["Family", "Docs"], ["**Llama**", "[Llama 3](l.md)"])
    assert edited.decode() == TABLE.replace("| **Qwen**", "| **Llama** | [Llama 3](l.md) |\n| **Qwen**")
    assert add_table_row(edited, ["Family", "Docs"], ["**Llama**", "[Llama 3](l.md)"]) == edited


def test_a_last_row_stands_before_the_blank_line():
    edited = add_table_row(TABLE.encode(), ["Family", "Docs"], ["**Step**", "x"]).decode()
    assert "[Q \\| R](q.md) |\n| **Step** | x |\n\nText" in edited


def test_an_existing_row_takes_a_link_or_refuses_another_content():
    edited = add_table_row(TABLE.encode(), ["Family", "Docs"], ["GLM", "[GLM-6](glm/6.md)"], append_to=1)
    assert "| **GLM** | [GLM-4](glm/4.md), [GLM-5](glm/5.md), [GLM-6](glm/6.md) |" in edited.decode()
    assert add_table_row(edited, ["Family", "Docs"], ["GLM", "[GLM-6](glm/6.md)"], append_to=1) == edited
    with pytest.raises(BadInput, match="already"):
        add_table_row(TABLE.encode(), ["Family", "Docs"], ["GLM", "other"])


@pytest.mark.parametrize("row", [["a\nb", "c"], ["a|b", "c"], ["a\\", "c"], ["a"], ["a", "b", "c"]])
def test_a_cell_that_would_break_the_table_is_refused(row):
    with pytest.raises(BadInput):
        add_table_row(TABLE.encode(), ["Family", "Docs"], row)


def test_no_table_or_two_tables_are_refused():
    with pytest.raises(BadInput, match="no tables"):
        add_table_row(TABLE.encode(), ["Nothing"], ["x"])
    with pytest.raises(BadInput, match="2 tables"):
        add_table_row((TABLE + "\n" + TABLE).encode(), ["Other", "Table"], ["x", "y"])


def test_a_table_at_the_end_of_a_file_without_newline_and_with_carriage_returns():
    source = b"\xef\xbb\xbf| A | B |\r\n|---|---|\r\n| a | 1 |"
    assert add_table_row(source, ["A", "B"], ["b", "2"]) == source + b"\r\n| b | 2 |"


def test_an_entry_goes_to_the_toctree_with_the_caption():
    edited = add_toctree_entry(TREE.encode(), "models/llama/index.md", caption="Supported Models")
    assert edited.decode() == TREE.replace("Qwen models", "models/llama/index.md\nQwen models")
    assert add_toctree_entry(edited, "models/llama/index", caption="Supported Models") == edited
    assert add_toctree_entry(TREE.encode(), "models/qwen/index.md", caption="Supported Models") == TREE.encode()


def test_an_unsorted_toctree_grows_at_its_end():
    edited = add_toctree_entry(TREE.encode(), "mango.md", caption="Guides").decode()
    assert "zebra.md\napple.md\nmango.md\n```" in edited


def test_an_empty_toctree_takes_its_first_entry():
    source = b"```{toctree}\n:hidden:\n\n```\n"
    assert add_toctree_entry(source, "a.md") == b"```{toctree}\n:hidden:\n\na.md\n```\n"


def test_no_toctree_or_several_are_refused():
    with pytest.raises(BadInput, match="2 toctrees"):
        add_toctree_entry(TREE.encode(), "a.md")
    with pytest.raises(BadInput, match="no toctree"):
        add_toctree_entry(TREE.encode(), "a.md", caption="Other")


@given(st.text(max_size=20))
def test_a_hostile_entry_adds_one_plain_line_or_is_refused(entry):
    source = b"```{toctree}\n:hidden:\n\nb.md\n```\n"
    try:
        edited = add_toctree_entry(source, entry)
    except BadInput:
        return
    assert edited == source or len(edited.splitlines()) == 6


def test_the_row_of_a_folder_is_found_by_its_links_and_else_by_its_name():
    header = ("Family", "Docs")
    assert linked_row(TABLE.encode(), header, "glm/") == "**GLM**"
    assert linked_row(TABLE.encode(), header, "docs/bailing/") == "**Bailing**"
    assert linked_row(TABLE.encode(), header, "lm/") is None
    with pytest.raises(BadInput):
        linked_row(TABLE.encode(), ("Family", "Other"), "glm/")


def test_plain_text_in_a_cell_is_told_apart_by_commas_outside_brackets():
    source = b"| Family | Has |\n|---|---|\n| Q | Q2, Q3 (dense, MoE), Q4 |\n"
    for present in ("Q2", "Q3 (dense, MoE)", "Q4"):
        assert add_table_row(source, ("Family", "Has"), ("Q", present), append_to=1) == source
    grown = add_table_row(source, ("Family", "Has"), ("Q", "MoE"), append_to=1)
    assert grown == source.replace(b"Q4 |", b"Q4, MoE |")


def test_the_toctree_of_the_models_is_found_by_what_it_lists():
    source = b"```{toctree}\ntraining/a.md\n```\n\n```{toctree}\nmodels/a/index.md\nmodels/c/index.md\n```\n"
    after = add_toctree_entry(source, "models/b/index.md", beside="models/")
    assert after == source.replace(b"models/c", b"models/b/index.md\nmodels/c")
    with pytest.raises(BadInput, match="no toctree"):
        add_toctree_entry(source, "x/b.md", beside="x/")
