"""Deliberate mistakes in templates that are right: each is caught by the check that is there for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scaffold_tools.verify.lane import LaneSession
from targets.roll.proof_configs import config_of
from targets.roll.proof_mutants import LOGITS, MUTANTS, Mutant
from targets.roll.proof_packages import Change
from targets.roll.proof_run import integration, prove, statuses

REPO = os.environ.get("SCAFFOLD_ROLL_REPO")
checkout = pytest.mark.skipif(not REPO, reason="SCAFFOLD_ROLL_REPO names no checkout of ROLL, and no registry has it")
BAD = ("failed", "error")


def _run(lane: LaneSession, folder: Path, mutant: Mutant, change: Change) -> dict[str, str]:
    assert REPO is not None
    found = integration(Path(REPO), folder / "package", mutant.name, mutant.model_type, change)
    config = config_of(mutant.model_type, **mutant.config)
    return statuses(prove(lane, found, config, folder / "work", layouts=mutant.layouts))


@checkout
@pytest.mark.lane
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mistake_is_caught_by_its_check(lane: LaneSession, tmp_path: Path, mutant: Mutant) -> None:
    found = _run(lane, tmp_path, mutant, mutant.change)
    assert {name: found[name] for name in mutant.caught_by if found[name] not in BAD} == {}
    if mutant.exact_round_trip is not None:
        assert found["round_trip.exact"] == "passed", "a round trip sees it after all"


@checkout
@pytest.mark.lane
@pytest.mark.parametrize("model_type", sorted({mutant.model_type for mutant in MUTANTS}))
def test_the_templates_that_mistakes_are_made_in_are_right(lane: LaneSession, tmp_path: Path, model_type: str) -> None:
    right = Mutant("as_it_is", Change(), model_type=model_type, layouts=({"tp": 2, "sp": True}, {"pp": 3}))
    found = _run(lane, tmp_path, right, right.change)
    assert {name: status for name, status in found.items() if status in BAD} == {}


def test_most_mistakes_leave_a_perfect_round_trip() -> None:
    runs = [mutant for mutant in MUTANTS if mutant.exact_round_trip is not None]
    assert sum(mutant.caught_by == LOGITS for mutant in runs) >= 12
    assert len(MUTANTS) - len(runs) <= len(runs) / 2
