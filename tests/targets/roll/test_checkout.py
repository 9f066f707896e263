"""Edits of a checkout, before and after."""

from __future__ import annotations

import pytest

from scaffold_tools.errors import BadInput
from scaffold_tools.targets.roll.checkout import add_package, append_template

BEFORE = b"""from . import (
    deepseek_v3,
    llama,  # the first
    qwen3,
    qwen3_moe,
)
from .auto import AutoConfig


__all__ = ["AutoConfig"]
"""


@pytest.mark.parametrize(
    ("name", "line_before"),
    [("aya", b"from . import ("), ("mistral", b"llama,  # the first"), ("zamba", b"qwen3_moe,")],
)
def test_a_package_is_imported_at_its_sorted_place(name, line_before):
    after = add_package(BEFORE, name)
    lines = after.splitlines()
    place = lines.index(f"    {name},".encode())
    assert lines[place - 1].strip() == line_before
    assert after.replace(f"    {name},\n".encode(), b"") == BEFORE


def test_a_package_that_is_imported_is_left_alone():
    assert add_package(BEFORE, "llama") == BEFORE


def test_line_ends_and_flat_lists_are_kept():
    windows = BEFORE.replace(b"\n", b"\r\n")
    assert add_package(windows, "mistral") == add_package(BEFORE, "mistral").replace(b"\n", b"\r\n")
    assert add_package(b"from . import a, c\n", "b") == b"from . import a, b, c\n"
    assert add_package(b"from . import a, c\n", "d") == b"from . import a, c, d\n"


def test_a_list_that_is_not_there_is_refused():
    with pytest.raises(BadInput, match=r"from \. import"):
        add_package(b"import torch\n", "llama")
    with pytest.raises(BadInput, match="identifier"):
        add_package(BEFORE, "a; import os")


def test_the_first_package_is_imported_before_anything_looks_for_models():
    older = b"# models\nfrom .auto import AutoConfig\nfrom .model_factory import McaGPTModel\n"
    after = add_package(older, "heron")
    assert after == older.replace(b"from .auto", b"from . import heron\nfrom .auto")
    assert add_package(after, "heron") == after


def test_a_template_goes_to_the_end_and_never_twice():
    before = b'register_template(\r\n    "robin",\r\n)\r\n\r\n\r\n'
    after = append_template(before, "heron", '\nregister_template(\n    "heron",\n)\n')
    assert after == b'register_template(\r\n    "robin",\r\n)\r\n\r\n\r\nregister_template(\r\n    "heron",\r\n)\r\n'
    with pytest.raises(BadInput, match="has a template for heron"):
        append_template(after, "heron", "x = 1")
