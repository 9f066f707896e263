"""A generated package on two processes, from disk and after training; then with a sum over ranks left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from scaffold_tools.verify.evidence import Check
from scaffold_tools.verify.lane import LaneSession
from scaffold_tools.verify.processes import verify_processes
from scaffold_tools.verify.run import Integration
from scaffold_tools.verify.static import Layout
from targets.blocks.models import MODELS
from targets.blocks.packages import write_package

pytestmark = pytest.mark.lane

SUM = "reduce_from_tensor_model_parallel_region(square_sum)"
"""Of query and key norms over the full width: each rank has the squares of its own heads."""


def prove(lane: LaneSession, folder: Path, change: tuple[str, str] | None, *also: str) -> tuple[Check, ...]:
    model = MODELS["olmo2"]()
    package = write_package(model, folder)
    if change is not None:
        path = folder / package / "modeling_olmo2.py"
        text = path.read_text()
        assert text.count(change[0]) == 1
        path.write_text(text.replace(*change))
    return verify_processes(
        lane,
        Integration("package", folder, package),
        config=model.config,
        architecture=model.blueprint.architecture,
        layouts=(Layout(tp=2, sp=True),),
        also=also,
    )


def test_a_package_with_its_own_modules_is_the_same_on_two_ranks_from_disk_and_after_training(
    lane: LaneSession, tmp_path: Path
) -> None:
    checks = prove(lane, tmp_path, None, "saved", "trained")
    assert {check.status for check in checks} == {"passed"}
    assert {check.name.partition(".")[0] for check in checks} == {"sharded", "saved", "trained"}


def test_a_mean_over_a_rank_s_own_heads_is_seen_in_logits_and_not_in_the_export(
    lane: LaneSession, tmp_path: Path
) -> None:
    checks = prove(lane, tmp_path, (SUM, "square_sum"))
    found = {check.name: check.status for check in checks}
    assert found["sharded.logits"] == "failed"
    assert found["sharded.export"] == "passed"
