"""Mixers that the family brings along: known by their arithmetic, and the same logits as Hugging Face."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scaffold_tools.blueprint.facts import Const, Product, Term
from scaffold_tools.targets.megatron_bridge.blocks import choose_blocks
from scaffold_tools.targets.megatron_bridge.mappings import map_roles
from scaffold_tools.verify.lane import LaneSession
from targets.blocks.mixer_configs import BARE_NORMS, DELTA, LIGHTNING, LRU, MIXERS, SELECTIVE, SHORT_CONV, SIDE_BY_SIDE
from targets.blocks.pipeline import blueprint_of, checks_of

pytestmark = pytest.mark.lane


def test_a_mamba_1_layer_is_known_by_its_arithmetic(lane: LaneSession) -> None:
    blueprint = blueprint_of(lane, SELECTIVE)
    assert blueprint.gaps == ()
    names = ("inner", "state_dim", "rank", "conv_width", "conv_bias", "proj_bias", "norm", "gate_first")
    found = [blueprint.value(f"selective.{name}") for name in names]
    assert found == [512, 24, 20, 4, True, False, "weighted", False]
    assert blueprint.value("selective.layers") == [True, False, True, False]
    assert blueprint.value("moe.layers") is None  # one expert is a plain MLP


def test_the_width_of_a_mamba_1_layer_keeps_the_key_of_its_factor(lane: LaneSession) -> None:
    fact = blueprint_of(lane, SELECTIVE).fact("selective.inner")
    assert fact is not None
    assert fact.expression == Product((Term("mamba_expand"), Term("hidden_size")))


def test_norms_without_weights_are_told_from_none(lane: LaneSession) -> None:
    blueprint = blueprint_of(lane, BARE_NORMS)
    assert blueprint.gaps == ()
    assert (blueprint.value("selective.norm"), blueprint.value("selective.proj_bias")) == ("bare", True)


def test_a_short_convolution_is_known_by_its_arithmetic(lane: LaneSession) -> None:
    blueprint = blueprint_of(lane, SHORT_CONV)
    assert blueprint.gaps == ()
    found = [blueprint.value(f"short_conv.{name}") for name in ("channels", "conv_width", "bias", "gate_place")]
    assert found == [256, 3, True, 1]


def test_a_linear_recurrent_unit_is_known_by_its_arithmetic(lane: LaneSession) -> None:
    blueprint = blueprint_of(lane, LRU)
    assert blueprint.gaps == ()
    found = [
        blueprint.value(f"lru.{name}") for name in ("width", "heads", "conv_width", "bias", "activation", "power")
    ]
    assert found == [320, 8, 4, True, "gelu_tanh", 8.0]
    assert blueprint.value("embedding.rounded") is True


def test_lightning_attention_is_known_by_its_arithmetic(lane: LaneSession) -> None:
    blueprint = blueprint_of(lane, LIGHTNING)
    assert blueprint.gaps == ()
    found = [blueprint.value(f"lightning.{name}") for name in ("width", "heads", "block", "activation", "norm_eps")]
    assert found == [256, 8, 64, "silu", 1e-6]
    assert blueprint.value("lightning.layers") == [True, False, True, False]


def test_each_side_of_each_sum_keeps_the_key_of_its_factor(lane: LaneSession) -> None:
    blueprint = blueprint_of(lane, LIGHTNING)
    assert (blueprint.value("residual.after_norm"), blueprint.value("residual.multiplier")) == (True, 1.0)
    names = {"attn": "full_attn", "mixer": "linear_attn", "mlp": "mlp"}
    for name, stem in names.items():
        for side, word in (("keep", "alpha"), ("add", "beta")):
            fact = blueprint.fact(f"residual.{name}.{side}")
            assert fact is not None
            assert fact.expression == Product((Term(f"{stem}_{word}_factor"),))
    assert (blueprint.value("residual.attn.keep"), blueprint.value("residual.mlp.add")) == (3.5, 0.5)


def test_norms_before_mixers_alone_are_told_from_norms_everywhere(lane: LaneSession) -> None:
    blueprint = blueprint_of(lane, DELTA)
    assert blueprint.gaps == ()
    assert blueprint.value("norm.pre_attn.layers") == "recurrent"
    assert blueprint.value("norm.pre_mlp.layers") == "recurrent"
    assert blueprint.value("delta.write_factor") == 2.0


def test_attention_and_a_state_space_layer_on_one_norm_are_one_layer(lane: LaneSession) -> None:
    blueprint = blueprint_of(lane, SIDE_BY_SIDE)
    assert blueprint.gaps == ()
    assert (blueprint.value("num_layers"), blueprint.value("mamba.layers")) == (2, [True, True])
    assert blueprint.value("mamba.beside") is True
    names = ("attention.input", "attention.output", "mamba.input", "mamba.output", "mlp.gate", "mlp.output")
    found = [blueprint.value(f"{name}_multiplier") for name in names]
    assert found == [0.85, 0.9375, 1.25, 0.236, 0.884, 0.589]


def test_each_part_of_a_projection_follows_its_place_in_a_list(lane: LaneSession) -> None:
    blueprint = blueprint_of(lane, SIDE_BY_SIDE)
    facts = [blueprint.fact(f"mamba.multiplier.{part}") for part in ("z", "x", "B", "C", "dt")]
    assert [fact and fact.value for fact in facts] == SIDE_BY_SIDE["ssm_multipliers"]
    expected = [Product((Term(f"ssm_multipliers.{place}"),)) for place in range(5)]
    assert [fact and fact.expression for fact in facts] == expected


def test_a_factor_on_keys_is_told_from_a_constant_although_both_toys_have_one_head_dim(lane: LaneSession) -> None:
    fact = blueprint_of(lane, SIDE_BY_SIDE).fact("attention.scale")
    assert fact is not None
    assert isinstance(fact.expression, Product)
    assert fact.value == pytest.approx(0.39 * 32**-0.5)
    keys = {term.key: term.power for term in fact.expression.terms}
    assert keys == {"key_multiplier": 1.0, "hidden_size": -0.5, "num_attention_heads": 0.5}


def test_a_norm_before_a_factor_is_not_fused_into_the_projection_behind_it(lane: LaneSession) -> None:
    blueprint = blueprint_of(lane, SIDE_BY_SIDE)
    names = choose_blocks(blueprint).megatron_names
    assert names["norm.pre_attn"] == "decoder.layers.*.input_layernorm"


@pytest.mark.parametrize("name", sorted(MIXERS))
def test_every_tensor_of_a_mixer_has_a_parameter(lane: LaneSession, name: str) -> None:
    blueprint = blueprint_of(lane, MIXERS[name])
    assert map_roles(blueprint, choose_blocks(blueprint).megatron_names).gaps == ()


@pytest.mark.parametrize("name", sorted(MIXERS))
def test_each_mixer_gives_the_logits_of_hugging_face(lane: LaneSession, tmp_path: Path, name: str) -> None:
    assert set(checks_of(lane, MIXERS[name], tmp_path)) == {"passed"}


@pytest.mark.parametrize(
    ("name", "fact", "value"),
    [
        ("selective", "selective.layers", [False, True, False, True]),
        ("selective", "selective.norm_eps", 1e-6),
        ("selective", "selective.gate_first", True),
        ("selective_bare_norms", "selective.norm", "none"),
        ("short_conv", "short_conv.gate_place", 2),
        ("lru", "lru.activation", "silu"),
        ("lightning", "lightning.activation", "relu"),
        ("lightning", "lightning.norm_eps", 0.05),
        ("lightning", "residual.after_norm", False),
        ("lightning", "residual.mixer.keep", 1.0),
        ("lightning", "residual.mlp.add", 1.0),
        ("delta", "delta.write_factor", 1.0),
        ("delta", "delta.norm.eps", 0.02),
        ("lru", "lru.power", 4.0),
        ("side_by_side", "attention.input_multiplier", 1.0),
        ("side_by_side", "mamba.output_multiplier", 1.0),
        ("side_by_side", "mamba.multiplier.dt", 1.0),
        ("side_by_side", "mlp.gate_multiplier", 1.0),
        ("side_by_side", "mlp.output_multiplier", 1.0),
        ("lru", "embedding.rounded", False),
    ],
)
def test_a_wrong_belief_about_a_mixer_is_caught(
    lane: LaneSession, tmp_path: Path, name: str, fact: str, value: Any
) -> None:
    found = checks_of(lane, MIXERS[name], tmp_path, lambda model: model.with_fact(fact, value, Const(value)))
    assert set(found) - {"passed"}
