"""State space layers of Mamba 2, alone, beside attention and beside lone MLPs: from the config to equal logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scaffold_tools.blueprint.facts import Const, PerLayer
from scaffold_tools.targets.megatron_bridge.blocks import choose_blocks
from scaffold_tools.verify.lane import LaneSession
from targets.blocks.models import Model
from targets.blocks.pipeline import blueprint_of, checks_of

pytestmark = pytest.mark.lane

SIZES: dict[str, Any] = {"vocab_size": 512, "hidden_size": 256, "intermediate_size": 704, "tie_word_embeddings": False}
HYBRID: dict[str, Any] = {
    **SIZES,
    "architectures": ["BambaForCausalLM"],
    "model_type": "bamba",
    "num_hidden_layers": 6,
    "attn_layer_indices": [1, 4],
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
    "mamba_n_heads": 16,
    "mamba_d_head": 32,
    "mamba_n_groups": 4,
    "mamba_d_state": 24,
    "mamba_expand": 2,
}
PURE: dict[str, Any] = {
    "architectures": ["Mamba2ForCausalLM"],
    "model_type": "mamba2",
    "vocab_size": 512,
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_heads": 16,
    "head_dim": 32,
    "state_size": 24,
    "n_groups": 4,
    "expand": 2,
    "tie_word_embeddings": False,
}
ALONE: dict[str, Any] = {
    **SIZES,
    "architectures": ["NemotronHForCausalLM"],
    "model_type": "nemotron_h",
    "layers_block_type": ["mamba", "mlp", "mamba", "attention", "moe"],
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 512,
    "mamba_num_heads": 16,
    "mamba_head_dim": 32,
    "n_groups": 4,
    "ssm_state_size": 24,
}
CONFIGS = {"hybrid": HYBRID, "pure": PURE, "alone": ALONE}


def test_a_state_space_layer_is_known_by_its_arithmetic(lane: LaneSession) -> None:
    blueprint = blueprint_of(lane, HYBRID)
    assert blueprint.gaps == ()
    names = ("heads", "head_dim", "state_dim", "groups", "conv_width", "conv_bias", "proj_bias")
    assert [blueprint.value(f"mamba.{name}") for name in names] == [16, 32, 24, 4, 4, True, False]
    assert (blueprint.value("mamba.norm"), blueprint.value("mamba.norm_groups")) == ("after_gate", "one")
    assert blueprint.value("mamba.layers") == [True, False, True, True, False, True]
    layers = blueprint.fact("mamba.layers")
    assert layers is not None and isinstance(layers.expression, PerLayer)


def test_groups_of_the_gated_norm_are_measured_not_assumed(lane: LaneSession) -> None:
    assert blueprint_of(lane, ALONE).value("mamba.norm_groups") == "state groups"


def test_layers_with_an_mlp_alone_are_layers(lane: LaneSession) -> None:
    blueprint = blueprint_of(lane, ALONE)
    assert blueprint.gaps == ()
    assert blueprint.value("num_layers") == 5
    assert blueprint.value("mixer.layers") == [True, False, True, True, False]
    assert blueprint.value("mlp.layers") == [False, True, False, False, True]


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_each_kind_of_stack_gets_its_logits(lane: LaneSession, tmp_path: Path, name: str) -> None:
    assert set(checks_of(lane, CONFIGS[name], tmp_path)) == {"passed"}


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("mamba.layers", [False, True, True, True, False, True]),
        ("mamba.norm_groups", "state groups"),
        ("mamba.norm_eps", 1e-5),
        ("mamba.multiplier.z", 0.5),
    ],
)
def test_a_wrong_belief_about_the_layers_is_caught(lane: LaneSession, tmp_path: Path, fact: str, value: Any) -> None:
    found = checks_of(lane, HYBRID, tmp_path, lambda model: model.with_fact(fact, value, Const(value)))
    assert set(found) - {"passed"}


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("mamba.norm", "before_gate"),
        ("mamba.conv_bias", False),
        ("mamba.proj_bias", True),
        ("mamba.step_limit", [0.01, None]),
        ("mamba.step_limit", [0.0, 4.0]),
    ],
)
def test_what_the_mixer_asserts_against_is_a_gap(lane: LaneSession, fact: str, value: Any) -> None:
    model = Model(HYBRID, blueprint_of(lane, HYBRID))
    assert choose_blocks(model.blueprint).gaps == ()
    assert [gap.subject for gap in choose_blocks(model.with_fact(fact, value).blueprint).gaps] == [fact]
