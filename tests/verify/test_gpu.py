"""The GPU lanes, over gloo on a CPU: the same processes and the same code; that is evidence of the code alone."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from mutants import QWEN3, Mutant
from test_verify import CONFIGS, packaged

from scaffold import gpu_lane
from scaffold.cli import run
from scaffold_tools.errors import BadInput
from scaffold_tools.verify.evidence import Evidence
from scaffold_tools.verify.gpu import Device, Split, gpu_python, verify_gpu
from scaffold_tools.verify.run import Integration
from support.runs import planned_run

CONFIG = CONFIGS["Qwen3ForCausalLM"] | {"architectures": ["Qwen3ForCausalLM"]}


def on_cpu(count: int) -> Device:
    return Device("cpu", count, gpu_python())


def measured(lane: Any, count: int, integration: Integration, **options: Any) -> Evidence:
    return verify_gpu(lane, integration, on_cpu(count), config=CONFIG, architecture="Qwen3ForCausalLM", **options)


def statuses(evidence: Evidence) -> dict[str, str]:
    return {f"{check.name} {check.toy}": check.status for check in evidence.checks}


@pytest.mark.lane
def test_a_mistake_is_caught_by_logits_and_a_test_that_fails_by_name(tmp_path: Path) -> None:
    """The control; that a right one passes is what two processes show below."""
    tests = tmp_path / "test_wrong.py"
    tests.write_text("def test_right():\n    assert True\n\n\ndef test_wrong():\n    assert False\n")
    wrong = measured("gpu", 1, packaged(tmp_path, Mutant("gpu_rope", "provider.rotary_base = 3.0")), tests=[tests])
    found = statuses(wrong)
    assert found["gpu.logits one process"] == found["gpu.tests generated"] == "failed"
    assert {found[f"gpu.{name} one process"] for name in ("build", "import", "round_trip")} == {"passed"}
    assert not wrong.proven


@pytest.mark.lane
def test_two_processes_split_the_model_and_what_takes_more_is_skipped(tmp_path: Path) -> None:
    tests = tmp_path / "test_right.py"
    tests.write_text("def test_right():\n    assert True\n")
    evidence = measured("gpu-multi", 2, Integration("installed"), tests=[tests])
    found = statuses(evidence)
    assert evidence.proven
    assert found["gpu.tests generated"] == "passed"
    for split in ("tp2 sp", "pp2"):
        assert {name for name, status in found.items() if name.endswith(f" {split}") and status == "passed"} == {
            f"gpu.{name} {split}" for name in ("build", "import", "round_trip", "logits", "generation")
        }
    assert found["gpu.build ep2"] == "skipped"
    assert found["gpu.build tp2 pp2 sp"] == "skipped"


@pytest.mark.lane
def test_without_a_gpu_it_ends_with_exit_code_5_and_says_what_else_can_be_done(
    workdir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    planned_run(workdir)
    assert run(["verify", "--lane", "gpu"]) == 5
    said = capsys.readouterr().err.strip().splitlines()
    assert "there is no GPU on this machine" in " ".join(said)
    assert "--slurm" in " ".join(said)


def test_a_lane_that_does_not_exist_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", "--lane", "tpu"]) == 2
    assert "gpu-multi" in capsys.readouterr().err
    assert run(["verify", "--lane", "gpu", "--locate"]) == 2


def test_the_slurm_script_is_a_script_that_runs_both_lanes(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = planned_run(workdir)
    assert run(["verify", folder.name, "--slurm"]) == 0
    script = capsys.readouterr().out
    assert script.startswith("#!/bin/bash\n")
    assert "--gpus-per-node=4" in script
    subprocess.run(["bash", "-n"], input=script.encode(), check=True)
    assert "for lane in gpu gpu-multi" in script
    one = gpu_lane.slurm_script("m", gpu_lane.command_of("m"), "gpu")
    assert "--gpus-per-node=1" in one


def test_a_hostile_link_stays_one_word_of_the_script() -> None:
    from scaffold.verifying import HandWritten

    link = "x; rm -rf / $(id) #"
    script = gpu_lane.slurm_script(link, gpu_lane.command_of(HandWritten("a.b:C", link)), "gpu")
    assert shlex.quote(link) in script
    with pytest.raises(BadInput):
        gpu_lane.slurm_script("m", gpu_lane.command_of(HandWritten("a.b:C", "x\nrm -rf /")), "gpu")


def test_a_bridge_by_hand_keeps_its_places_in_the_command(tmp_path: Path) -> None:
    from scaffold.verifying import HandWritten

    given = HandWritten(f"{QWEN3.module}:{QWEN3.bridge}", "m", repo=tmp_path)
    assert gpu_lane.command_of(given)[-2:] == ("--repo", str(tmp_path))


def test_splits_say_how_many_processes_they_take() -> None:
    assert (Split(tp=2, pp=2).processes, Split(ep=2).processes, Split(tp=2, ep=2).processes) == (4, 2, 2)
    assert (Split().name, Split(tp=2, sp=True).name) == ("one process", "tp2 sp")


def test_tests_of_a_plan_are_those_that_lie_on_disk(workdir: Path) -> None:
    from scaffold import look

    plan = look.load_plan(planned_run(workdir))
    assert gpu_lane.tests_of(plan) == ()
    name = next(change.path for change in plan.changes if Path(change.path).name.startswith("test_"))
    file = Path(plan.root) / name
    file.parent.mkdir(parents=True)
    file.write_text("")
    assert gpu_lane.tests_of(plan) == (file,)
    assert json.loads(json.dumps(plan.root))
