"""Several processes, saved and loaded, trained: right integrations pass, and each mistake here was made on purpose."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from process_mutants import BRIDGES, DENSE, EXPERTS, FAULTS, REFUSAL, Fault, config_of, write_faulty

from scaffold.cli import run
from scaffold_tools.errors import BadInput
from scaffold_tools.verify.checks import CHECKS
from scaffold_tools.verify.evidence import Check
from scaffold_tools.verify.jobs import Jobs
from scaffold_tools.verify.lane import LaneSession
from scaffold_tools.verify.processes import KINDS, left_out, verify_processes, with_sharded
from scaffold_tools.verify.run import Integration
from scaffold_tools.verify.static import Layout

INSTALLED = Integration("installed")
EVERY = os.environ.get("SCAFFOLD_ALL_RANKS") == "1"
"""All layouts of all models; else one or two of each."""
FEW_FAULTS = (
    "gate_and_up_cut_where_they_meet",
    "tied_embeddings_of_two_stages_not_summed",
    "a_parameter_that_is_not_saved",
    "a_frozen_parameter",
)
CHOSEN_FAULTS = tuple(fault for fault in FAULTS if EVERY or fault.name in FEW_FAULTS)


def prove(lane: LaneSession, config: dict[str, Any], integration: Integration = INSTALLED, **how: Any) -> list[Check]:
    return list(verify_processes(lane, integration, config=config, architecture=config["architectures"][0], **how))


def of_the_lane(lane: LaneSession) -> set[int]:
    """Processes that have the environment of the lane's server, whoever started them."""
    found = set()
    own = next(
        one for one in Path(f"/proc/{lane.pid}/environ").read_bytes().split(b"\0") if one.startswith(b"HF_HOME=")
    )
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if own in (process / "environ").read_bytes():
                found.add(int(process.name))
    return found


def bad(checks: list[Check]) -> set[str]:
    return {check.name for check in checks if check.status in ("failed", "error")}


@pytest.mark.lane
def test_a_tied_model_is_the_same_on_two_ranks_from_disk_and_after_training(lane: LaneSession) -> None:
    checks = prove(lane, DENSE)
    assert {check.status for check in checks} == {"passed"}, bad(checks)
    assert {check.name for check in checks} == {kind.name for kind in CHECKS if kind.name.startswith(KINDS)}
    assert {check.toy for check in checks} == {"tp2 sp", "pp2 vpp2", "one process", "tp2 sp to one process"}
    assert of_the_lane(lane) == {lane.pid}, "a process outlived its work"


@pytest.mark.lane
@pytest.mark.parametrize("config", [DENSE, EXPERTS] if EVERY else [EXPERTS], ids=lambda one: one["model_type"])
def test_experts_are_shared_out(lane: LaneSession, config: dict[str, Any]) -> None:
    layouts = "all" if EVERY else (Layout(ep=2), Layout(cp=2), Layout(tp=2))
    checks = prove(lane, config, layouts=layouts, also=("saved",))
    assert not bad(checks)
    skipped = [(check.name, check.toy) for check in checks if check.status == "skipped"]
    assert skipped == ([] if EVERY else [("sharded.build", "tp2")])


@pytest.mark.lane
def test_a_layout_that_code_refuses_is_a_named_limit(lane: LaneSession, tmp_path: Path) -> None:
    package = Integration("package", tmp_path, write_faulty(tmp_path, REFUSAL))
    checks = prove(lane, DENSE, package, layouts=REFUSAL.layouts, also=())
    assert not bad(checks)
    tensors = [check for check in checks if check.toy == "tp2 sp"]
    assert [(check.name, check.status, check.detail) for check in tensors] == [
        ("sharded.build", "skipped", "refused: this block is whole")
    ]
    assert {check.status for check in checks if check.toy == "pp2"} == {"passed"}


@pytest.mark.lane
@pytest.mark.parametrize("fault", CHOSEN_FAULTS, ids=lambda fault: fault.name)
def test_a_mistake_that_one_process_cannot_see_is_caught(lane: LaneSession, tmp_path: Path, fault: Fault) -> None:
    package = Integration("package", tmp_path, write_faulty(tmp_path, fault))
    checks = prove(lane, config_of(fault), package, layouts=fault.layouts, also=fault.also)
    assert set(fault.caught_by) <= bad(checks)
    assert any(fault.said in check.detail for check in checks if check.name in fault.caught_by)
    assert "sharded.build" not in bad(checks)


@pytest.mark.lane
def test_ranks_that_fail_or_hang_end_all_of_them_in_one_line(lane: LaneSession, tmp_path: Path) -> None:
    faults = ["collective", "raises", "refuses", "dies", "hangs", "mismatch"]
    found = lane.call("broken_ranks", {"faults": faults, "folder": str(tmp_path)})
    assert found["collective"]["result"] == [{"sum": [1.0, 1.0]}] * 2
    assert found["raises"]["message"].startswith("rank 1 of 2, sharded.logits: ValueError: this rank cannot [")
    assert (found["refuses"]["reason"], found["refuses"]["message"]) == (
        "refused",
        "this block takes whole sequences",
    )
    assert found["dies"]["message"] == "rank 0 of 2, sharded.logits: died (SIGKILL)"
    assert found["hangs"]["reason"] == "timeout"
    assert found["hangs"]["message"].endswith("rank 0 in sharded.logits, rank 1 in sharded.logits")
    assert "result" not in found["mismatch"]
    for outcome in found.values():
        assert outcome["left"] == []
        assert outcome["seconds"] < 30, "none waited for the minute that others sleep, nor for its limit"
        assert "\n" not in outcome.get("message", "")


def test_what_has_no_processes_is_left_out_and_not_passed() -> None:
    integration = Integration("installed", jobs=Jobs(processes=None))
    checks = verify_processes(None, integration, config={}, architecture="X")  # type: ignore[arg-type]
    assert checks == left_out("the target's lane has no processes for it")
    assert {check.status for check in checks} == {"skipped"}


def test_other_layouts_take_the_place_of_the_few() -> None:
    before = (Check("logits.max_abs", "passed"), Check("sharded.logits", "failed", toy="tp2 sp"))
    after = with_sharded(before, (Check("sharded.logits", "passed", toy="tp2"),))
    assert [(check.name, check.toy) for check in after] == [("logits.max_abs", ""), ("sharded.logits", "tp2")]


@pytest.mark.parametrize("layout", [Layout(vpp=2), Layout(sp=True)])
def test_sizes_that_exclude_each_other_are_refused(layout: Layout) -> None:
    with pytest.raises(BadInput):
        layout.check()


@pytest.mark.lane
@pytest.mark.skipif(not EVERY, reason="a whole verification; SCAFFOLD_ALL_RANKS=1 runs it")
def test_a_layout_of_ones_own_is_part_of_the_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(DENSE))
    monkeypatch.chdir(tmp_path)
    bridge = ":".join(BRIDGES["qwen3"])
    assert run(["verify", "--bridge", bridge, "--hf", "config.json", "--tp", "2", "--pp", "2", "--json"]) == 0
    outcome = json.loads(capsys.readouterr().out)
    kept = json.loads((Path(outcome["run_folder"]) / "evidence.json").read_text())
    for evidence in (outcome["evidence"], kept):
        assert {one["toy"] for one in evidence["checks"] if one["name"].startswith("sharded.")} == {"tp2 pp2"}
