"""Mixtures of experts from a config alone to proven logits, and the same with one wrong belief."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.verify.lane import LaneSession
from support.lane_fixture import lane
from targets.blocks.expert_configs import CONFIGS
from targets.derived import believing, derived, proof

__all__ = ["lane"]

pytestmark = pytest.mark.lane


@pytest.fixture(scope="module")
def blueprints(lane: LaneSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Blueprint]:
    return {name: derived(lane, config, tmp_path_factory.mktemp("config")) for name, config in CONFIGS.items()}


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_what_was_derived_is_proven(
    lane: LaneSession, blueprints: dict[str, Blueprint], name: str, tmp_path: Path
) -> None:
    assert blueprints[name].gaps == ()
    found = proof(lane, blueprints[name], CONFIGS[name], tmp_path)
    assert found.proven, [check for check in found.checks if check.status != "passed"]


def test_one_bridge_is_proven_for_sizes_with_other_flags(
    lane: LaneSession, blueprints: dict[str, Blueprint], tmp_path: Path
) -> None:
    flags = {switch.key: switch.value for switch in blueprints["glm4_moe"].switches}
    assert flags == {"attention_bias": True, "use_qk_norm": True}
    for switches, right in ((blueprints["glm4_moe"].switches, True), ((), False)):
        own = dataclasses.replace(blueprints["glm4_moe"], switches=switches)
        place = tmp_path / str(right)
        found = proof(lane, own, CONFIGS["glm4_moe"], place, variants=("a",), switched=flags)
        checks = [check for check in found.checks if check.toy == "canary-switched"]
        assert checks and all(check.status == "passed" for check in checks) == right, checks


def test_flags_that_transformers_refuses_leave_the_model_proven(
    lane: LaneSession, blueprints: dict[str, Blueprint], tmp_path: Path
) -> None:
    refused = {"num_attention_heads": "many"}
    found = proof(lane, blueprints["qwen3_moe"], CONFIGS["qwen3_moe"], tmp_path, variants=("a",), switched=refused)
    checks = [check for check in found.checks if check.toy == "canary-switched"]
    assert found.proven
    assert {check.status for check in checks} == {"skipped"}
    assert "transformers does not run with {'num_attention_heads': 'many'}" in checks[0].detail


WRONG: tuple[tuple[str, str, Any], ...] = (
    ("qwen3_moe", "moe.renormalise", False),
    ("qwen3_moe", "moe.layers", [True] * 4),
    ("qwen2_moe", "moe.renormalise", True),
    ("qwen2_moe", "moe.top_k", 2),
    ("glm4_moe", "moe.scale", 1.0),
    ("glm4_moe", "moe.score", "softmax"),
    ("glm4_moe", "moe.group_score", "max"),
    ("one group kept", "moe.groups_kept", 2),
    ("dots1", "moe.renormalise", True),
    ("ernie4_5_moe", "moe.score", "sigmoid"),
    ("phimoe", "moe.margin", 0.02),
    ("phimoe", "moe.score", "softmax"),
    ("gpt_oss", "moe.up_offset", 0.0),
    ("gpt_oss", "attention.sinks", False),
)


@pytest.mark.parametrize(("name", "fact", "value"), WRONG, ids=[f"{name}-{fact}" for name, fact, _ in WRONG])
def test_a_wrong_belief_is_not_proven(
    lane: LaneSession, blueprints: dict[str, Blueprint], tmp_path: Path, name: str, fact: str, value: Any
) -> None:
    wrong = believing(blueprints[name], fact, value)
    assert not proof(lane, wrong, CONFIGS[name], tmp_path).proven


PACKINGS = (
    ("moe.expert.down", "stacked"),
    ("moe.expert.gate_up", "concat:gate,up;stacked;transposed"),
    ("moe.expert.gate_up", "interleaved:up,gate;stacked;transposed"),
)


@pytest.mark.parametrize(("role", "packing"), PACKINGS)
def test_a_wrong_layout_of_square_experts_is_not_proven(
    lane: LaneSession, blueprints: dict[str, Blueprint], tmp_path: Path, role: str, packing: str
) -> None:
    """Hidden size and expert width are the same here, so no shape objects."""
    gpt_oss = blueprints["gpt_oss"]
    roles = tuple(
        dataclasses.replace(row, packing=packing) if (row.role, row.param) == (role, "weight") else row
        for row in gpt_oss.roles
    )
    assert not proof(lane, dataclasses.replace(gpt_oss, roles=roles), CONFIGS["gpt_oss"], tmp_path).proven


def test_gate_and_up_of_experts_in_each_others_place_are_not_proven(
    lane: LaneSession, blueprints: dict[str, Blueprint], tmp_path: Path
) -> None:
    swapped = {"moe.expert.gate": "moe.expert.up", "moe.expert.up": "moe.expert.gate"}
    qwen = blueprints["qwen3_moe"]
    roles = tuple(dataclasses.replace(row, role=swapped.get(row.role, row.role)) for row in qwen.roles)
    found = proof(lane, dataclasses.replace(qwen, roles=roles), CONFIGS["qwen3_moe"], tmp_path)
    assert any(check.name == "round_trip.exact" and check.status == "passed" for check in found.checks)
    assert any(check.name == "logits.max_abs" and check.status == "failed" for check in found.checks)
