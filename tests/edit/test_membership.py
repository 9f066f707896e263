"""A string is added to the list that a value is looked up in, and nothing else changes."""

from __future__ import annotations

import pytest

from scaffold_tools.edit.membership import add_member, members_in
from scaffold_tools.errors import BadInput

BEFORE = b"""def gather(model):
    # which experts are one tensor
    convert = version >= "5.2" and getattr(model.config, "model_type", "") in ("qwen3_moe", "qwen3_next")
    return convert


def other(model_type):
    return model_type in ("qwen3_moe", "qwen3_next")
"""


def test_one_more_at_the_end():
    after = add_member(BEFORE, "wren_moe", function="gather", subject="model_type")
    assert after == BEFORE.replace(b'"qwen3_next")\n    return', b'"qwen3_next", "wren_moe")\n    return')
    assert members_in(after, "other", "model_type") == (("qwen3_moe", "qwen3_next"),)  # another function's list


def test_twice_is_as_good_as_once():
    once = add_member(BEFORE, "wren_moe", function="gather", subject="model_type")
    assert add_member(once, "wren_moe", function="gather", subject="model_type") == once


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'["a"]', b'["a", "wren"]'),
        (b"('a',)", b"('a', 'wren')"),
        (b'{"a", "b"}', b'{"a", "b", "wren"}'),
        (b'[\n        "a",\n        "b",\n    ]', b'[\n        "a",\n        "b",\n        "wren",\n    ]'),
    ],
)
def test_lists_tuples_and_sets_keep_their_form(before, after):
    source = b"def f(model_type):\n    return model_type in " + before + b"\n"
    edited = add_member(source, "wren", function="f", subject="model_type")
    assert edited == source.replace(before, after)


def test_only_the_lists_that_are_meant():
    source = (
        b'def f(kind):\n    a = kind in ("x", "y")\n    b = kind in ("x",)\n    return a or b or kind in ("x", "y")\n'
    )
    edited = add_member(source, "z", function="f", subject="kind", beside=("x", "y"))
    assert edited == source.replace(b'("x", "y")', b'("x", "y", "z")')
    assert add_member(edited, "z", function="f", subject="kind", beside=("x", "y")) == edited


def test_line_ends_stay():
    source = BEFORE.replace(b"\n", b"\r\n")
    edited = add_member(source, "wren_moe", function="gather", subject="model_type")
    assert edited.replace(b', "wren_moe"', b"") == source


@pytest.mark.parametrize(
    ("function", "subject"), [("nowhere", "model_type"), ("gather", "architecture")], ids=["function", "subject"]
)
def test_no_such_list_is_bad_input(function, subject):
    with pytest.raises(BadInput, match=function):
        add_member(BEFORE, "wren", function=function, subject=subject)


def test_a_number_is_no_list_of_names():
    with pytest.raises(BadInput):
        add_member(b"def f(n):\n    return n in (1, 2)\n", "wren", function="f", subject="n")


LOOKUP = b"""def needed(self):
    return (
        self.mca_config.hf_model_type in ["one", "two"]  # stacked
        and True
    )
"""


def test_without_a_function_the_whole_file_is_looked_through():
    assert add_member(LOOKUP, "three", subject="hf_model_type") == LOOKUP.replace(b'"two"]', b'"two", "three"]')
    assert add_member(LOOKUP, "two", subject="hf_model_type") == LOOKUP


def test_without_such_a_list_the_edit_is_refused():
    with pytest.raises(BadInput, match="hf_model_type"):
        add_member(b"x = 1\n", "three", subject="hf_model_type")
