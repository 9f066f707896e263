"""Integrations into ROLL in processes of their own: saved, loaded and trained; and what ROLL itself leaves out."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from scaffold_tools.paths import harness_dir
from scaffold_tools.verify.lane import LaneSession
from scaffold_tools.verify.processes import verify_processes
from targets.roll.proof_configs import config_of
from targets.roll.proof_packages import Change
from targets.roll.proof_run import integration

if str(harness_dir()) not in sys.path:
    sys.path.append(str(harness_dir()))

from mca.limits import LIMITS, limit_of

REPO = os.environ.get("SCAFFOLD_ROLL_REPO")
checkout = pytest.mark.skipif(not REPO, reason="SCAFFOLD_ROLL_REPO names no checkout of ROLL, and no registry has it")
MODEL = """
base = MODEL_MAPPING["qwen3"]


class Model(base):
{body}


MODEL_MAPPING["qwen3"] = Model
"""
HALF_A_LOSS = """    def compute_language_model_loss(self, labels, logits):
        return super().compute_language_model_loss(labels, logits) / 2"""
ROUNDED_WHEN_SAVED = """    def save_pretrained(self, folder, state_dict=None, ckpt_format="legacy"):
        state = self.sharded_state_dict() if ckpt_format == "torch_dist" else {
            name: value.bfloat16().float() for name, value in self.state_dict_for_save_checkpoint().items()
            if value is not None and value.is_floating_point()
        }
        super().save_pretrained(folder, {"model": state}, ckpt_format)"""
ANOTHER_EPSILON_WHEN_SAVED = """    def save_pretrained(self, folder, *args, **kwargs):
        kept, self.config.layernorm_epsilon = self.config.layernorm_epsilon, 0.5
        super().save_pretrained(folder, *args, **kwargs)
        self.config.layernorm_epsilon = kept"""
MISTAKES = {
    "half_a_loss": (HALF_A_LOSS, {"trained.gradients"}),
    "rounded_when_saved": (ROUNDED_WHEN_SAVED, {"saved.exact", "saved.logits"}),
    "another_epsilon_when_saved": (ANOTHER_EPSILON_WHEN_SAVED, {"saved.logits"}),
}


def _found(lane: LaneSession, folder: Path, name: str, change: Change | None) -> dict[str, Any]:
    assert REPO is not None
    config = config_of("qwen3")
    found = integration(Path(REPO), folder, name, "qwen3", change)
    checks = verify_processes(lane, found, config=config, architecture=config["architectures"][0], layouts=[])
    return {check.name: check for check in checks}


@checkout
@pytest.mark.lane
def test_a_right_template_comes_back_from_a_checkpoint_and_learns_as_hugging_face_does(
    lane: LaneSession, tmp_path: Path
) -> None:
    found = _found(lane, tmp_path, "right", None)
    assert {name: check.status for name, check in found.items()} == {
        name: "passed"
        for name in (
            *("saved.exact", "saved.logits", "saved.resharded"),
            *("trained.gradients", "trained.loss", "trained.logits"),
        )
    }


@checkout
@pytest.mark.lane
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_saving_or_learning_is_seen_there(lane: LaneSession, tmp_path: Path, name: str) -> None:
    body, caught_by = MISTAKES[name]
    found = _found(lane, tmp_path, name, Change(after=MODEL.format(body=body)))
    assert {name for name, check in found.items() if check.status != "passed"} == caught_by


CONVERTER = "def save():\n    weights = gather_tensor_parallel(weight, is_expert_parallel=True)\n"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    file = tmp_path / "models/converter/model_converter.py"
    file.parent.mkdir(parents=True)
    file.write_text(CONVERTER + '    return self.hf_model_type in ["qwen3_vl_moe"]\n')
    return tmp_path


@pytest.mark.parametrize(("limit", "line"), list(zip(LIMITS, (2, 3), strict=True)), ids=("folding", "one tensor"))
def test_a_limit_of_roll_is_told_with_the_line_of_the_checkout(adapter: Path, limit: Any, line: int) -> None:
    told = limit_of(f"rank 0 of 2, sharded.export: Error: {limit.raised} [x.py:1]", adapter)
    assert told == f"limit of ROLL: {limit.words} (mcore_adapter/models/converter/model_converter.py:{line})"


@pytest.mark.parametrize("limit", LIMITS, ids=("folding", "one tensor"))
def test_without_that_line_the_same_error_is_no_limit(adapter: Path, limit: Any) -> None:
    (adapter / limit.file).write_text("def save():\n    pass\n")
    assert limit_of(limit.raised, adapter) == ""


def test_another_error_is_no_limit(adapter: Path) -> None:
    assert limit_of("RuntimeError: shapes differ", adapter) == ""
