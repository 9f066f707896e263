"""Rows of the table fact -> provider attribute, each by what it emits."""

from __future__ import annotations

import dataclasses

import pytest

from scaffold_tools.blueprint.facts import Blueprint, Const, PerLayer, Product, Term
from scaffold_tools.targets.megatron_bridge.profile import Profile
from scaffold_tools.targets.megatron_bridge.rules import ROWS, settle
from targets.blueprints import fact, key, qwen3, with_fact, with_key, without_key
from targets.provider_fields import DENSE

FIELDS = frozenset(
    (
        "num_layers",
        "hidden_size",
        "vocab_size",
        "num_attention_heads",
        "num_query_groups",
        "kv_channels",
        "ffn_hidden_size",
        "seq_length",
        *DENSE,
    )
)
PROFILE = Profile(
    layout="package",
    source="",
    construction="provider",
    provider_fields=FIELDS,
    config_mapping=(
        ("num_hidden_layers", "num_layers"),
        ("hidden_size", "hidden_size"),
        ("vocab_size", "vocab_size"),
        ("num_attention_heads", "num_attention_heads"),
        ("num_key_value_heads", "num_query_groups"),
        ("head_dim", "kv_channels"),
        ("intermediate_size", "ffn_hidden_size"),
        ("max_position_embeddings", "seq_length"),
        ("rms_norm_eps", "layernorm_epsilon"),
        ("attention_bias", "add_qkv_bias"),
        ("mlp_bias", "add_bias_linear"),
        ("tie_word_embeddings", "share_embeddings_and_output_weights"),
        ("partial_rotary_factor", "rotary_percent"),
    ),
    activations=(
        ("silu", "F.silu"),
        ("gelu", "F.gelu"),
        ("gelu_pytorch_tanh", "fast_gelu"),
        ("relu2", "squared_relu"),
    ),
    mapping_classes=frozenset(),
    registrations=(),
    families=(),
)
LAYER_TYPES = ["sliding_attention", "full_attention"] * 18


def emitted(blueprint: Blueprint) -> dict[str, str]:
    return {row.attribute: row.code for row in settle(blueprint, PROFILE).settings}


def rope(kind: str, **parameters: float) -> list[dict[str, object]]:
    return [{"layers": list(range(36)), "type": kind, "parameters": parameters, "config_key": "rope_parameters"}]


def test_what_the_base_class_derives_is_not_emitted_again():
    assert emitted(qwen3()) == {
        "normalization": '"RMSNorm"',
        "qk_layernorm": "True",
        "gated_linear_unit": "True",
        "add_bias_linear": "False",
    }


WINDOW = "(hf_config.sliding_window - 1, 0) if hf_config.sliding_window is not None else None"
ROW_CASES = [
    ("norm.kind", "layernorm", None, {"normalization": '"LayerNorm"'}),
    ("norm.zero_centered", True, None, {"layernorm_zero_centered_gamma": "True"}),
    ("norm.eps", 1e-5, key("norm_epsilon"), {"layernorm_epsilon": "hf_config.norm_epsilon"}),
    ("norm.eps", 1e-5, Const(1e-5), {"layernorm_epsilon": "1e-05"}),
    (
        "attention.scale",
        0.1,
        key("query_pre_attn_scalar", -0.5),
        {"softmax_scale": "hf_config.query_pre_attn_scalar**-0.5"},
    ),
    ("attention.scale", 0.1, key("attention_multiplier"), {"softmax_scale": "hf_config.attention_multiplier"}),
    ("attention.window", [9] * 36, key("sliding_window"), {"window_size": WINDOW}),
    ("position.kind", "learned", None, {"position_embedding_type": '"learned_absolute"'}),
    ("position.kind", "none", None, {"position_embedding_type": '"none"'}),
    ("rope.pairing", "interleaved", None, {"rotary_interleaved": "True"}),
    (
        "rope.fraction",
        0.5,
        key("rope_parameters.partial_rotary_factor"),
        {"rotary_percent": 'hf_config.rope_parameters["partial_rotary_factor"]'},
    ),
    (
        "rope.sets",
        rope("linear", factor=2.5),
        None,
        {"seq_len_interpolation_factor": 'hf_config.rope_parameters["factor"]'},
    ),
    (
        "rope.sets",
        rope("llama3", factor=8, low_freq_factor=1, high_freq_factor=4, original_max_position_embeddings=8192),
        None,
        {"rope_scaling": "True", "rope_scaling_factor": 'hf_config.rope_parameters["factor"]'},
    ),
    ("mlp.activation", "relu2", None, {"activation_func": "squared_relu"}),
    ("mlp.gated", False, None, {"gated_linear_unit": "False"}),
    ("bias.qkv", True, Const(True), {"add_qkv_bias": "True"}),
    ("head_dim", 128, key("attention_head_size"), {"kv_channels": "hf_config.attention_head_size"}),
    ("tied_embeddings", True, Const(True), {"share_embeddings_and_output_weights": "True"}),
]


@pytest.mark.parametrize(("name", "value", "expression", "expected"), ROW_CASES)
def test_a_fact_becomes_its_attribute(name, value, expression, expected):
    found = emitted(with_fact(qwen3(), name, value, expression))
    assert expected.items() <= found.items()
    gaps = settle(with_fact(qwen3(), name, value, expression), PROFILE).gaps
    assert name not in {gap.subject for gap in gaps}


def test_a_window_counts_the_query_and_only_some_layers_have_it():
    expression = PerLayer(
        "layer_types", (("sliding_attention", key("sliding_window")), ("full_attention", Const(None)))
    )
    blueprint = with_fact(qwen3(), "attention.window", [512, None] * 18, expression)
    found = emitted(blueprint)
    assert found["window_size"] == "(hf_config.sliding_window - 1, 0)"
    assert found["window_attn_skip_freq"] == '[int(kind == "sliding_attention") for kind in hf_config.layer_types]'


def test_layers_without_rope_follow_the_list_that_says_so():
    rotated = [layer for layer in range(36) if layer % 2 == 0]
    sets = [{"layers": rotated, "type": "default", "parameters": {}, "config_key": "rope_parameters"}]
    blueprint = with_fact(with_key(qwen3(), "layer_types", LAYER_TYPES), "rope.sets", sets)
    assert emitted(blueprint)["no_rope_freq"] == '[int(kind == "full_attention") for kind in hf_config.layer_types]'
    assert settle(with_fact(qwen3(), "rope.sets", sets), PROFILE).gaps, "no list of the config says which layers"


def test_a_key_that_another_key_shadows_is_assigned_not_mapped():
    row = settle(with_fact(qwen3(), "norm.eps", 1e-5, key("norm_eps")), PROFILE).settings
    assert next(one for one in row if one.attribute == "layernorm_epsilon").config_key is None
    alone = without_key(with_fact(qwen3(), "norm.eps", 1e-5, key("norm_eps")), "rms_norm_eps")
    mapped = settle(alone, PROFILE).settings
    assert next(one for one in mapped if one.attribute == "layernorm_epsilon").config_key == "norm_eps"


def test_equal_numbers_of_this_checkpoint_do_not_make_a_scale_the_default():
    """query_pre_attn_scalar may equal head_dim here, and differ in the next size of the family."""
    blueprint = with_fact(qwen3(), "attention.scale", 128**-0.5, key("query_pre_attn_scalar", -0.5))
    assert "softmax_scale" in emitted(blueprint)


GAPS = [
    (
        "rope.sets",
        rope("llama3", factor=8, low_freq_factor=2, high_freq_factor=4, original_max_position_embeddings=99),
    ),
    ("rope.sets", rope("longrope")),
    ("residual.multiplier", 0.22),
    ("embedding.multiplier", 64.0),
    ("logits.softcap", 30.0),
    ("attention.softcap", 50.0),
    ("attention.clip_qkv", 8.0),
    ("residual.parallel", True),
    ("norm.affine", False),
    ("norm.bias", True),
    ("qk_norm.kind", "full"),
    ("qk_norm.after_rope", True),
    ("qk_norm.zero_centered", True),
    ("position.kind", "alibi"),
    ("mlp.activation", "xielu"),
    ("bias.head", True),
    ("bias.o", True),
    ("a.fact.nobody.knows", 1),
]


@pytest.mark.parametrize(("name", "value"), GAPS)
def test_what_stock_attributes_cannot_express_is_a_gap_unless_a_block_covers_it(name, value):
    blueprint = with_fact(qwen3(), name, value, Const(value))
    assert name in {gap.subject for gap in settle(blueprint, PROFILE).gaps}
    assert name not in {gap.subject for gap in settle(blueprint, PROFILE, frozenset({name})).gaps}


def test_every_fact_goes_somewhere():
    blueprint = qwen3()
    settled = settle(blueprint, PROFILE)
    rows = {row.fact for row in ROWS}
    assert {one.name for one in blueprint.facts} <= rows
    silent = {one.name for one in blueprint.facts} - set(settled.derived) - {gap.subject for gap in settled.gaps}
    assert silent == {"norm.kind", "qk_norm.kind", "mlp.gated", "bias.mlp"}, "those are what the settings came from"


def test_an_attribute_that_the_target_lacks_is_a_gap_and_never_emitted():
    old = dataclasses.replace(PROFILE, provider_fields=FIELDS - {"qk_layernorm"})
    settled = settle(qwen3(), old)
    assert "qk_layernorm" not in {row.attribute for row in settled.settings}
    assert [gap.subject for gap in settled.gaps] == ["qk_norm.kind"]


def test_products_keep_their_constant():
    expression = Product((Term("hidden_size", 0.5), Term("attention_multiplier")), 2.0)
    blueprint = with_fact(qwen3(), "attention.scale", 1.0, expression)
    assert emitted(blueprint)["softmax_scale"] == "2 * hf_config.hidden_size**0.5 * hf_config.attention_multiplier"
    assert fact("norm.eps", 1).name == "norm.eps"


@pytest.mark.parametrize(
    ("bias", "coefficient", "expected"),
    [(False, None, "aux_loss"), (True, None, "none"), (True, 0.0, "none"), (True, 0.001, "aux_loss")],
)
def test_a_loss_that_the_config_weighs_is_there_beside_a_correction_bias(bias, coefficient, expected):
    """A weight of a loss that is off would be set, exported and used nowhere."""
    grouped = {"moe_grouped_gemm", "moe_token_dispatcher_type", "moe_permute_fusion", "moe_router_load_balancing_type"}
    profile = dataclasses.replace(
        PROFILE,
        config_mapping=(*PROFILE.config_mapping, ("router_aux_loss_coef", "moe_aux_loss_coeff")),
        provider_fields=FIELDS | grouped,
    )
    blueprint = with_fact(qwen3(), "moe.layers", [True] * 36, Const(True))
    blueprint = with_fact(blueprint, "moe.correction_bias", bias, Const(bias))
    if coefficient is not None:
        blueprint = with_key(blueprint, "router_aux_loss_coef", coefficient)
    settings = {row.attribute: row.code for row in settle(blueprint, profile).settings}
    assert settings["moe_router_load_balancing_type"] == f'"{expected}"'
