"""Attention outputs that are multiplied by the sigmoid of a projection of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scaffold_tools.blueprint.facts import Const
from scaffold_tools.verify.lane import LaneSession
from targets.blocks.pipeline import blueprint_of, checks_of

pytestmark = pytest.mark.lane

GATED: dict[str, Any] = {
    "architectures": ["AfmoeForCausalLM"],
    "model_type": "afmoe",
    "num_hidden_layers": 8,
    "layer_types": (["sliding_attention"] * 3 + ["full_attention"]) * 2,
    "num_dense_layers": 2,
    "head_dim": 128,
}


def test_a_gate_projection_is_told_from_the_other_linears_of_a_layer(lane: LaneSession) -> None:
    blueprint = blueprint_of(lane, GATED)
    gate = blueprint.role("attn.gate")
    assert gate is not None
    assert gate.pattern == "model.layers.*.self_attn.gate_proj.weight"
    assert blueprint.value("attention.output_gate") is True


def test_queries_and_gates_reach_one_megatron_parameter_and_come_back(lane: LaneSession, tmp_path: Path) -> None:
    assert set(checks_of(lane, GATED, tmp_path)) == {"passed"}


def test_a_gate_that_is_believed_absent_is_caught(lane: LaneSession, tmp_path: Path) -> None:
    fact = "attention.output_gate"
    found = checks_of(lane, GATED, tmp_path, lambda model: model.with_fact(fact, False, Const(False)))
    assert set(found) - {"passed"}
