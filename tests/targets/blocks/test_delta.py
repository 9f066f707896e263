"""Gated delta nets beside attention, from the config to equal logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scaffold_tools.blueprint.facts import Const, PerLayer
from scaffold_tools.verify.lane import LaneSession
from targets.blocks.pipeline import blueprint_of, checks_of

pytestmark = pytest.mark.lane

NETS: dict[str, Any] = {
    "architectures": ["Qwen3_5ForCausalLM"],
    "model_type": "qwen3_5_text",
    "vocab_size": 248320,
    "hidden_size": 2560,
    "intermediate_size": 9216,
    "num_hidden_layers": 8,
    "layer_types": (["linear_attention"] * 3 + ["full_attention"]) * 2,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 96,
    "linear_conv_kernel_dim": 4,
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000000.0, "partial_rotary_factor": 0.25},
}


def test_a_gated_delta_net_is_known_by_its_arithmetic(lane: LaneSession) -> None:
    blueprint = blueprint_of(lane, NETS)
    assert blueprint.gaps == ()
    names = ("key_heads", "value_heads", "key_dim", "value_dim", "conv_width", "write_factor")
    assert [blueprint.value(f"delta.{name}") for name in names] == [16, 32, 128, 96, 4, 1.0]
    assert blueprint.value("delta.layers") == ([True] * 3 + [False]) * 2
    layers = blueprint.fact("delta.layers")
    assert layers is not None
    assert isinstance(layers.expression, PerLayer)
    assert blueprint.value("attention.output_gate") is True


def test_each_net_and_its_gate_get_their_logits(lane: LaneSession, tmp_path: Path) -> None:
    assert set(checks_of(lane, NETS, tmp_path)) == {"passed"}


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("delta.layers", ([True] * 3 + [False]) * 2),
        ("attention.output_gate", False),
        ("delta.norm.zero_centered", True),
    ],
)
def test_a_wrong_belief_about_the_nets_is_caught(lane: LaneSession, tmp_path: Path, fact: str, value: Any) -> None:
    wrong = [*value[1:], value[0]] if isinstance(value, list) else value
    found = checks_of(lane, NETS, tmp_path, lambda model: model.with_fact(fact, wrong, Const(wrong)))
    assert set(found) - {"passed"}
