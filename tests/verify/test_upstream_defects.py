"""What the page says of a defect is what restored parity in the rows, and nothing else."""

from __future__ import annotations

from dataclasses import replace

from upstream_defects import defect_data, defect_lines, defects, kinds, published_lines, reaching
from upstream_fixes import BIAS, EPSILON, FIXES, GROUPS, HERE, ROPE
from upstream_rows import Row, page
from upstream_source import Fix, fewest

EPSILONS = tuple(fix.words for fix in FIXES if fix.group == EPSILON)
ROPES = tuple(fix.words for fix in FIXES if fix.group == ROPE)
WRONG = Row(
    "released", "gemma2", "base", "m:B", "fails", ("logits.max_abs",), 3.5, "exact",
    tried=EPSILONS[:1], restored_by=EPSILONS[:1],
)  # fmt: skip
ROWS = [
    WRONG,
    replace(WRONG, source="main"),
    replace(WRONG, variant="rope-llama3-unusual", restored_by=(EPSILONS[0], ROPES[0]), round_trip="failed"),
    replace(WRONG, model_type="deepseek_v3", restored_by=EPSILONS[1:2]),
    replace(WRONG, model_type="deepseek_v4", restored_by=(), tried=("something",)),
]
A, B, C = (Fix((), name, ROPE, name) for name in "abc")


def test_a_model_with_two_defects_counts_for_both() -> None:
    epsilon, rope = (next(one for one in kinds(ROWS) if one.name == name) for name in (EPSILON, ROPE))
    assert (epsilon.models("released"), epsilon.models("main"), epsilon.silent) == (3, 1, 3)
    assert (rope.models("released"), rope.models("main"), rope.silent) == (1, 0, 0)
    assert epsilon.types == ("deepseek_v3", "gemma2")


def test_what_no_fix_restored_is_no_defect() -> None:
    assert all("deepseek_v4" not in one.types for one in (*kinds(ROWS), *defects(ROWS)))
    text = "\n".join(defect_lines(ROWS))
    assert "4 of 5 measurements that differ agree" in text
    assert "1 stay open (`deepseek_v4`)" in text


def test_the_data_say_what_the_page_says() -> None:
    first = defect_data(ROWS)[0]
    assert (first["change"], first["kind"], first["models"]) == (ROPES[0], ROPE, {"released": 1, "main": 0})
    assert len(defect_data(ROWS)) == len(defects(ROWS)) == 3


def test_a_kind_that_no_row_shows_is_left_out() -> None:
    assert {one.name for one in kinds(ROWS)} == {EPSILON, ROPE}
    assert BIAS not in "\n".join(defect_lines(ROWS))


def test_a_published_model_is_affected_only_where_its_own_numbers_differ() -> None:
    asleep = replace(WRONG, variant="some/agrees", published=True, outcome="passes", restored_by=())
    awake = replace(WRONG, variant="some/differs", published=True)
    epsilon = kinds([*ROWS, asleep, awake])[1]
    assert epsilon.affected == ("some/differs",)
    assert epsilon.models("released") == 3
    text = "\n".join(published_lines([WRONG, asleep, awake]))
    assert "| released | some/agrees | gemma2 | 3.5e+00 | exact | agrees |" in text
    assert f"differs until: {EPSILONS[0]}" in text
    assert "0 of 1 types agree" in page([WRONG, asleep, awake], [], {"released": {}})
    assert published_lines([WRONG]) == []


def test_what_only_a_toy_or_this_transformers_shows_is_not_held_against_a_published_model() -> None:
    shape = next(fix.words for fix in FIXES if fix.group == HERE)
    dense = next(fix for fix in FIXES if fix.unless)
    row = replace(WRONG, variant="some/model", published=True, restored_by=(shape, dense.words), config={})
    assert reaching(row) == (dense.words,)
    asked = replace(row, config={dense.unless: 3})
    assert reaching(asked) == ()
    assert "agrees (set aside, " in published_lines([asked])[-2]
    assert "differs until" in published_lines([row])[-2]
    assert not any(one.affected for one in defects([asked]))


def test_every_fix_is_of_one_kind_and_said_once() -> None:
    assert {fix.group for fix in FIXES} == set(GROUPS)
    assert len({fix.words for fix in FIXES}) == len(FIXES)


def test_a_fix_that_is_not_needed_is_taken_away_again() -> None:
    assert fewest([A, B, C], lambda chosen: {A, C} <= set(chosen)) == (A, C)
    assert fewest([A], lambda chosen: A in chosen) == (A,)


def test_a_fix_that_stands_in_the_way_does_not_hide_the_one_that_is_needed() -> None:
    assert fewest([A, B, C], lambda chosen: set(chosen) == {B}) == (B,)
    assert fewest([A, B, C], lambda chosen: set(chosen) == {A, C}) == (A, C)


def test_without_parity_no_fix_is_named() -> None:
    asked: list[tuple[Fix, ...]] = []
    assert fewest([A, B], lambda chosen: bool(asked.append(chosen))) == ()
    assert asked == [(A, B), (A,), (B,)]


def test_a_row_that_is_for_another_fix_is_passed_over() -> None:
    one = Fix(("gemma2",), "x", ROPE, variants=("base",), but=("gemma3_text", "heads-gqa"))
    assert one.applies("gemma2", "base")
    assert not one.applies("gemma2", "heads-gqa")
    assert not replace(one, types=()).applies("gemma3_text", "base")
