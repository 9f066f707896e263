"""Progress is what is measured: more checks, or logits that are nearer; words and removed rows are none."""

from __future__ import annotations

import math

from scaffold.agent.judge import Judge, Score, differs, score
from scaffold.toolbox.answers import CheckItem

from .conftest import PROVEN, measured


def test_more_checks_beat_nearer_logits_and_a_little_nearer_is_nothing() -> None:
    assert Score(11, 9.0).beats(Score(10, 0.1))
    assert not Score(9, 0.0).beats(Score(10, 5.0))
    assert Score(10, 0.8).beats(Score(10, 1.0))
    assert not Score(10, 0.95).beats(Score(10, 1.0))
    assert Score(10, 1.0).beats(Score(10, math.inf))
    assert not Score(10, math.nan).beats(Score(10, 1.0))


def test_logits_that_were_not_compared_or_are_no_number_are_infinitely_far() -> None:
    for value in (None, math.nan, math.inf):
        bad = CheckItem(name="logits.max_abs", toy="b", status="skipped", value=value, threshold=None, detail="")
        found = measured(10).model_copy(update={"not_passed": [bad]})
        assert score(found) == Score(10, math.inf)
    assert score(None) == Score(0, math.inf)
    assert score(PROVEN) == Score(20, 0.0)


def test_a_divergence_is_looked_for_only_where_logits_were_compared() -> None:
    found = measured(10)
    assert differs(found)
    skipped = found.not_passed[0].model_copy(update={"status": "skipped"})
    assert not differs(found.model_copy(update={"not_passed": [skipped]}))
    assert not differs(PROVEN)


def test_taking_rows_out_is_no_progress_and_no_proof() -> None:
    judge = Judge()
    judge.saw(measured(10))
    for _ in range(2):
        judge.saw(measured(10, gaps=False))
        judge.round_over()
    assert judge.stuck
    assert not judge.proven


def test_the_first_measurement_is_where_it_starts_and_brings_nothing() -> None:
    judge = Judge(patience=1)
    judge.saw(measured(10))
    judge.round_over()
    assert judge.stuck


def test_going_back_to_the_best_is_no_progress() -> None:
    judge = Judge()
    for passed in (10, 12, 9, 12):
        judge.saw(measured(passed))
        judge.round_over()
    assert judge.stuck
