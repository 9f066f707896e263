"""Positions as released models combine them: scaled tables beside layers without any, shares of heads, biases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scaffold_tools.blueprint.facts import Const
from scaffold_tools.verify.lane import LaneSession
from targets.blocks.pipeline import blueprint_of, checks_of

pytestmark = pytest.mark.lane


def config(model_type: str, architecture: str, **changes: Any) -> dict[str, Any]:
    return {"architectures": [architecture], "model_type": model_type, "num_hidden_layers": 4, **changes}


LONGROPE = {
    "type": "longrope",
    "short_factor": [1.0] * 36,
    "long_factor": [1.0 + 0.5 * place for place in range(36)],
}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 4096}
MODELS: dict[str, dict[str, Any]] = {
    "longrope on a share of each head, of a fused projection": config(
        "phi3",
        "Phi3ForCausalLM",
        num_attention_heads=32,
        num_key_value_heads=8,
        hidden_size=3072,
        max_position_embeddings=131072,
        original_max_position_embeddings=4096,
        partial_rotary_factor=0.75,
        rope_scaling=LONGROPE,
    ),
    "yarn beside layers that a list of numbers leaves without positions": config(
        "smollm3", "SmolLM3ForCausalLM", no_rope_layers=[1, 1, 1, 0], rope_parameters=YARN
    ),
    "linear scaling beside layers without positions": config(
        "smollm3",
        "SmolLM3ForCausalLM",
        no_rope_layers=[1, 1, 1, 0],
        rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.5},
    ),
    "biases that are scaled with the scores and rounded": config("falcon", "FalconForCausalLM", alibi=True),
    "a norm over the one key head": config("olmo2", "Olmo2ForCausalLM", num_key_value_heads=1),
}


@pytest.mark.parametrize("name", MODELS)
def test_each_gets_the_logits_of_hugging_face(lane: LaneSession, tmp_path: Path, name: str) -> None:
    assert not blueprint_of(lane, MODELS[name]).gaps
    assert set(checks_of(lane, MODELS[name], tmp_path)) == {"passed"}


def test_biases_that_are_believed_unscaled_are_caught(lane: LaneSession, tmp_path: Path) -> None:
    name = "biases that are scaled with the scores and rounded"
    wrong = ("position.alibi.multiplier", 1.0, Const(1.0))
    assert "logits.max_abs" in checks_of(lane, MODELS[name], tmp_path, lambda model: model.with_fact(*wrong))["failed"]


def test_a_setting_of_yarn_among_those_of_a_kind_of_layers_is_not_read(lane: LaneSession) -> None:
    """`truncate` counts beside the kinds alone; the table with it among them is that without it."""
    kinds = ["sliding_attention", "full_attention"] * 2
    local = {"rope_type": "default", "rope_theta": 10000.0}
    rope = {"sliding_attention": local, "full_attention": YARN | {"truncate": False}}
    model = config("gemma3_text", "Gemma3ForCausalLM", layer_types=kinds, rope_parameters=rope)
    tables = blueprint_of(lane, model).value("rope.sets")
    assert {one["type"]: one["parameters"].get("truncate") for one in tables} == {"default": None, "yarn": True}
