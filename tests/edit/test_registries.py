"""Entries of dictionaries and sets, as before → after."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaffold_tools.edit.registries import add_to_string_dict, add_to_string_set
from scaffold_tools.errors import BadInput

DICT = b'''"""Tests."""

EXPECTED = {
    "BaForCausalLM": "a.b.Ba",
    # the one that everybody knows
    "DaForCausalLM": "a.b.Da",  # for now
    "EaForCausalLM": (
        "a.b.Ea"
    ),
}

OTHER = {"x": 1}
'''


def test_an_entry_goes_to_its_sorted_place_and_comments_stay_where_they_are():
    after = add_to_string_dict(DICT, "EXPECTED", "CaForCausalLM", "a.b.Ca")
    assert after == DICT.replace(
        b'    # the one that everybody knows\n    "Da', b'    # the one that everybody knows\n    "Da'
    ).replace(b'"a.b.Ba",\n', b'"a.b.Ba",\n    "CaForCausalLM": "a.b.Ca",\n')


@pytest.mark.parametrize(
    ("key", "behind"),
    [("AaForCausalLM", b"EXPECTED = {\n"), ("ZaForCausalLM", b'    "EaForCausalLM": (\n        "a.b.Ea"\n    ),\n')],
)
def test_first_and_last_places(key, behind):
    line = f'    "{key}": "a.b.X",\n'.encode()
    assert add_to_string_dict(DICT, "EXPECTED", key, "a.b.X") == DICT.replace(behind, behind + line)


def test_a_comment_behind_an_entry_stays_behind_it():
    after = add_to_string_dict(DICT, "EXPECTED", "DbForCausalLM", "a.b.Db")
    assert b'"a.b.Da",  # for now\n    "DbForCausalLM": "a.b.Db",\n    "EaForCausalLM": (\n' in after


def test_a_long_entry_is_broken_as_the_formatter_does():
    value = "megatron.bridge.models." + "x" * 60 + ".y_bridge.YBridge"
    after = add_to_string_dict(DICT, "EXPECTED", "CaForCausalLM", value)
    assert f'    "CaForCausalLM": (\n        "{value}"\n    ),\n'.encode() in after or len(value) < 80
    formatted = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--line-length", "119", "-"],
        input=after,
        capture_output=True,
        check=True,
    ).stdout
    assert add_to_string_dict(formatted, "EXPECTED", "CaForCausalLM", value) == formatted


def test_another_value_takes_the_place_of_the_old_one():
    assert add_to_string_dict(DICT, "EXPECTED", "DaForCausalLM", "n.Da") == DICT.replace(b"a.b.Da", b"n.Da")


def test_twice_is_once_and_bom_and_crlf_stay():
    source = b"\xef\xbb\xbf" + DICT.replace(b"\n", b"\r\n")
    once = add_to_string_dict(source, "EXPECTED", "CaForCausalLM", "a.b.Ca")
    assert once.startswith(b"\xef\xbb\xbf") and b'"a.b.Ca",\r\n' in once and b"\n" not in once.replace(b"\r\n", b"")
    assert add_to_string_dict(once, "EXPECTED", "CaForCausalLM", "a.b.Ca") == once


def test_upper_case_sorts_as_the_list_has_it():
    """`KimiK25` stands before `KimiK2F` in a list that is sorted by characters, and behind it in a natural one."""
    plain = b'S = {\n    "KimiK25For",\n    "KimiK2ForC",\n}\n'
    assert add_to_string_set(plain, "S", "KimiK27For") == plain.replace(
        b'    "KimiK2ForC"', b'    "KimiK27For",\n    "KimiK2ForC"'
    )
    natural = b'S = {\n    "KimiK2ForC",\n    "KimiK25For",\n}\n'
    assert add_to_string_set(natural, "S", "KimiK27For") == natural.replace(b"}\n", b'    "KimiK27For",\n}\n')


def test_a_list_without_a_final_comma_gets_one():
    assert add_to_string_set(b'S = {\n    "a",\n    "b"\n}\n', "S", "c") == b'S = {\n    "a",\n    "b",\n    "c",\n}\n'


@pytest.mark.parametrize(
    "source", [b"", b"S = set()\n", b"S = {}\n", b'S = {"a", "b"}\n', b"S = {}\nS = {}\n", b"S = {x for x in y}\n"]
)
def test_what_an_edit_could_only_guess_at_is_refused(source):
    with pytest.raises(BadInput):
        add_to_string_set(source, "S", "c")


@pytest.mark.parametrize("text", ['a"', "a\n", "a\\"])
def test_text_that_would_be_code_is_refused(text):
    with pytest.raises(BadInput):
        add_to_string_dict(DICT, "EXPECTED", text, "a")
    with pytest.raises(BadInput):
        add_to_string_dict(DICT, "EXPECTED", "a", text)


words = st.text("abcdefgABC_0123456789", min_size=1, max_size=6)


@given(st.lists(words, min_size=1, max_size=12, unique=True), words, st.booleans(), st.booleans(), st.integers(0, 3))
def test_any_list_keeps_its_entries_and_order_and_gains_one(entries, new, ordered, crlf, comments):
    entries = sorted(entries) if ordered else entries
    rows = [
        f'    "{name}": "v.{name}",' + ("  # why" if index < comments else "") for index, name in enumerate(entries)
    ]
    source = ("D = {\n" + "\n".join(rows) + "\n}\n").encode()
    source = source.replace(b"\n", b"\r\n") if crlf else source
    after = add_to_string_dict(source, "D", new, f"v.{new}")
    value = ast.literal_eval(after.decode().removeprefix("D = "))
    assert value == {name: f"v.{name}" for name in [*entries, new]}
    assert [name for name in value if name in entries] == entries
    assert after.count(b"# why") == min(comments, len(entries))
    if ordered:
        assert list(value) == sorted(value) or list(value)[:-1] != sorted(value)[:-1]
    kept = (
        after.replace(f'    "{new}": "v.{new}",{chr(13) if crlf else ""}\n'.encode(), b"")
        if new not in entries
        else after
    )
    assert kept == source
