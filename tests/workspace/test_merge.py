import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaffold_tools.workspace import merge3

BASE = b"one\ntwo\nthree\nfour\nfive\n"
content = st.lists(st.sampled_from([b"a\n", b"b\n", b"c\r\n", b"d\x0c\n"]), max_size=6).map(b"".join)


def test_changes_on_different_lines_are_both_taken():
    merged = merge3(BASE, BASE.replace(b"one", b"ONE"), BASE.replace(b"five", b"FIVE"))
    assert merged.content == b"ONE\ntwo\nthree\nfour\nFIVE\n"
    assert merged.conflicts == 0


def test_changes_on_the_same_line_leave_markers_there_alone():
    merged = merge3(BASE, BASE.replace(b"three", b"mine"), BASE.replace(b"three", b"theirs"))
    assert merged.conflicts == 1
    assert merged.content == b"one\ntwo\n<<<<<<< yours\nmine\n=======\ntheirs\n>>>>>>> new\nfour\nfive\n"


def test_markers_stand_on_lines_of_their_own_without_a_final_newline():
    merged = merge3(b"a", b"b", b"c")
    assert merged.content == b"<<<<<<< yours\nb\n=======\nc\n>>>>>>> new\n"


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_markers_use_the_line_ends_of_the_file(end):
    merged = merge3(b"a" + end, b"b" + end, b"c" + end)
    assert merged.content.count(end) == 5


@given(content, content)
def test_a_side_that_did_not_change_gives_way_to_the_other(base, other):
    assert merge3(base, base, other).content == other
    assert merge3(base, other, base).content == other
    assert merge3(base, other, other).content == other
