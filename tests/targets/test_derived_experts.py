"""Mixtures of experts from a config alone to proven logits, and the same with one wrong belief."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from scaffold_tools.blueprint.derive import derive_blueprint
from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.blueprint.probing import probe_model
from scaffold_tools.source.read import read_inventory
from scaffold_tools.verify.lane import LaneSession
from support.lane_fixture import lane
from targets.test_derived_blocks import believing, proof

__all__ = ["lane"]

pytestmark = pytest.mark.lane
SIZES: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "tie_word_embeddings": False,
    "num_experts_per_tok": 4,
}


def _config(model_type: str, architecture: str, **rest: Any) -> dict[str, Any]:
    return {**SIZES, "model_type": model_type, "architectures": [architecture], **rest}


CONFIGS: dict[str, dict[str, Any]] = {
    "qwen3_moe": _config(
        "qwen3_moe", "Qwen3MoeForCausalLM", num_experts=8, moe_intermediate_size=96, mlp_only_layers=[1],
        norm_topk_prob=True,
    ),
    "qwen2_moe": _config(
        "qwen2_moe", "Qwen2MoeForCausalLM", num_experts=8, moe_intermediate_size=96, sliding_window=None,
        shared_expert_intermediate_size=160, norm_topk_prob=False,
    ),
    "glm4_moe": _config(
        "glm4_moe", "Glm4MoeForCausalLM", n_routed_experts=32, moe_intermediate_size=96, n_shared_experts=1, n_group=8,
        topk_group=2, first_k_dense_replace=1, routed_scaling_factor=2.5, norm_topk_prob=True, head_dim=32,
        pad_token_id=0,
    ),
    "one group kept": _config(
        "glm4_moe", "Glm4MoeForCausalLM", n_routed_experts=32, moe_intermediate_size=96, n_shared_experts=1, n_group=4,
        topk_group=1, first_k_dense_replace=1, routed_scaling_factor=2.5, norm_topk_prob=True, head_dim=32,
        pad_token_id=0,
    ),
    "dots1": _config(
        "dots1", "Dots1ForCausalLM", n_routed_experts=16, moe_intermediate_size=96, n_shared_experts=2, n_group=1,
        topk_group=1, first_k_dense_replace=1, norm_topk_prob=False, head_dim=32,
    ),
    "ernie4_5_moe": _config(
        "ernie4_5_moe", "Ernie4_5_MoeForCausalLM", moe_num_experts=16, moe_k=4, moe_intermediate_size=96,
        moe_num_shared_experts=2,
    ),
    "gpt_oss": _config(
        "gpt_oss", "GptOssForCausalLM", num_local_experts=8, head_dim=32, sliding_window=16, hidden_size=704,
    ),
    "phimoe": _config(
        "phimoe", "PhimoeForCausalLM", num_local_experts=8, num_experts_per_tok=2, router_jitter_noise=0.01,
    ),
    "flex_olmo": _config(
        "flex_olmo", "FlexOlmoForCausalLM", num_experts=8, norm_topk_prob=False, pad_token_id=0, eos_token_id=1,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def blueprints(lane: LaneSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Blueprint]:
    found = {}
    for name, config in CONFIGS.items():
        folder = tmp_path_factory.mktemp("config")
        (folder / "config.json").write_text(json.dumps(config))
        inventory = read_inventory(str(folder), derive_table=lambda request: lane.call("tensor_table", request))
        found[name] = derive_blueprint(inventory, None, probe_model(lane, inventory))
    return found


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_what_was_derived_is_proven(
    lane: LaneSession, blueprints: dict[str, Blueprint], name: str, tmp_path: Path
) -> None:
    assert blueprints[name].gaps == ()
    found = proof(lane, blueprints[name], CONFIGS[name], tmp_path)
    assert found.proven, [check for check in found.checks if check.status != "passed"]


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
