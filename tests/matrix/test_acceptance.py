"""The dense architectures that must come out proven, through the whole command, with no edit by hand."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from scaffold import pipeline, run_folder
from scaffold.lane import EarlyLane
from scaffold.outcome import Outcome
from scaffold.progress import Progress
from scaffold_tools.verify.evidence import Evidence

from .cases import CASES, Case
from .through import checkpoint_folder, config_folder, new_model

pytestmark = [pytest.mark.lane, pytest.mark.xdist_group("acceptance")]
BY_NAME = {case.name: case for case in CASES}


def checked(outcome: Outcome) -> Evidence:
    """What holds of every case: nothing is open, every check passed on both toys, the numbers are below the bound."""
    assert outcome.gaps == ()
    assert outcome.proven is True
    assert outcome.exit_code == 0
    evidence = outcome.evidence
    assert evidence is not None
    left = {check.name for check in evidence.checks if check.status != "passed"}
    assert left <= {"generation.real"}, left  # weights without a tokenizer
    logits = {check.toy: check.value for check in evidence.checks if check.name == "logits.max_abs"}
    assert {"canary-a", "canary-b"} <= set(logits) <= {"canary-a", "canary-b", "canary-switched"}
    assert all(isinstance(value, float) and value < 1e-4 for value in logits.values())
    assert evidence.bridge.startswith(f"{outcome.package}.")
    return evidence


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_proven_from_the_config_alone(case: Case, open_lane: EarlyLane, tmp_path: Path) -> None:
    outcome = new_model(config_folder(tmp_path, case.name, case.config), tmp_path / "place", open_lane)
    checked(outcome)
    assert inventory_origin(tmp_path / "place", case.name) == "transformers-class"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_proven_with_headers(case: Case, open_lane: EarlyLane, tmp_path: Path) -> None:
    link = checkpoint_folder(tmp_path, case.name, case.config, open_lane)
    outcome = new_model(link, tmp_path / "place", open_lane)
    checked(outcome)
    assert inventory_origin(tmp_path / "place", case.name) == "headers"


def inventory_origin(place: Path, name: str) -> str:
    """Where the tensor table came from, as the run folder says."""
    value = json.loads((place / run_folder.HOME / name / "inventory.json").read_text())
    return str(value["tensors"]["origin"])


DAMAGES = (("llama", "provider.layernorm_epsilon = 1e-5"), ("mistral-window", "provider.window_size = None"))
"""A case, and one attribute that its bridge gets wrong."""
END = "        return provider\n"


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_a_package_with_one_attribute_changed_is_not_proven(
    name: str, damage: str, open_lane: EarlyLane, tmp_path: Path
) -> None:
    """The negative control: the checks that pass for every case above can fail."""
    place = tmp_path / "place"
    outcome = new_model(config_folder(tmp_path, name, BY_NAME[name].config), place, open_lane)
    checked(outcome)
    bridge = next(path for path in (place / "package").rglob("*_bridge.py") if "test" not in path.name)
    text = bridge.read_text()
    assert text.count(END) == 1
    bridge.write_text(text.replace(END, f"        {damage}\n{END}"))
    folder = run_folder.RunFolder(place / run_folder.HOME / name)
    with contextlib.chdir(place):
        again = pipeline.verify_run(
            folder, Progress(quiet=True), lane="cpu", trust_remote_code=False, session=open_lane
        )
    assert again.proven is False
    assert again.exit_code == 1
    assert again.evidence is not None
    failed = {check.name for check in again.evidence.checks if check.status == "failed"}
    assert "logits.max_abs" in failed
    assert "round_trip.exact" not in failed


def test_every_case_says_what_it_shows_and_has_a_name_of_its_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert all(case.shows for case in CASES)
