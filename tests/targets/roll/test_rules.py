"""Facts to fields of McaModelConfig: the adapter's own rows, and what the shared ones are called here."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from scaffold_tools.blueprint.facts import Const
from scaffold_tools.targets.megatron_bridge.rows import Setting
from scaffold_tools.targets.roll import rules
from scaffold_tools.targets.roll.profile import RollProfile, read_profile
from targets.blueprints import fact, with_fact, with_key
from tests.targets.roll.adapter_tree import write_adapter
from tests.targets.roll.models import changed, dense, latent, mixture, yarn


@pytest.fixture(scope="module")
def profile(tmp_path_factory) -> RollProfile:
    return read_profile(*write_adapter(tmp_path_factory.mktemp("roll")))


def settled(blueprint, profile) -> dict[str, Setting]:
    return {row.attribute: row for row in rules.settle(blueprint, profile, frozenset()).settings}


def table(**changes: Any) -> list[dict[str, Any]]:
    (plain,) = dense().value("rope.sets")
    return [{**plain, **changes}]


def test_nothing_is_left_to_a_base_class(profile):
    """Every size of a model is stated: what a template leaves out keeps megatron-core's default."""
    found = settled(dense(), profile)
    stated = {"num_layers", "hidden_size", "vocab_size", "num_attention_heads", "num_query_groups", "kv_channels"}
    assert stated <= set(found)
    assert found["layernorm_epsilon"].config_key == "rms_norm_eps"
    assert found["normalization"].code == '"RMSNorm"'


ROWS = (
    ("position.kind", "rope", {"position_embedding_type": '"rope"'}),
    ("position.kind", "none", {"position_embedding_type": '"none"'}),
    ("rope.sets", [], {}),
    ("rope.sets", table(), {"rotary_base": "hf_config.rope_theta", "rope_parameters": "hf_config.rope_parameters"}),
    ("rope.sets", table(config_key=None, theta_key="base"), {"rotary_base": "hf_config.base"}),
    ("rope.sets", table(config_key=None, theta_key=None, theta=500.0), {"rotary_base": "500.0"}),
    (
        "rope.sets",
        table(config_key="rope_parameters.full"),
        {"rotary_base": 'hf_config.rope_parameters["full"]["rope_theta"]'},
    ),
    ("rope.sets", table(type="linear"), {"rope_interpolation_factor": 'hf_config.rope_parameters["factor"]'}),
    ("rope.fraction", 1.0, {"rotary_percent": "1.0"}),
    ("mlp.activation", "silu", {}),
    ("mlp.activation", "gelu_tanh", {"activation_func": "fast_gelu"}),
    ("mlp.gated", True, {"swiglu": "True"}),
    ("mlp.gated", False, {}),
    ("qk_norm.kind", "none", {"qk_layernorm": "False"}),
    ("moe.score", "softmax", {"moe_router_score_function": '"softmax"'}),
)


@pytest.mark.parametrize(("name", "value", "expected"), ROWS)
def test_a_row_of_the_adapter(name, value, expected, profile):
    blueprint = with_fact(dense(), name, value)
    before = {row.fact for row in rules.ROWS}
    assert name in before
    found = settled(blueprint, profile)
    for field, code in expected.items():
        assert found[field].code == code


def test_every_fact_of_the_adapters_rows_is_tried():
    assert {row.fact for row in rules.ROWS} == {name for name, _, _ in ROWS}


def test_squared_relu_without_a_gate_is_a_field_of_its_own(profile):
    blueprint = with_fact(with_fact(dense(), "mlp.gated", False), "mlp.activation", "relu2")
    found = settled(blueprint, profile)
    assert found["squared_relu"].code == "True"
    assert "activation_func" not in found
    assert "swiglu" not in found
    assert "squared_relu" not in settled(with_fact(dense(), "mlp.activation", "relu2"), profile)


def test_layers_without_rotation_are_listed(profile):
    rotated = [layer for layer in range(36) if (layer + 1) % 4]
    blueprint = with_fact(dense(), "rope.sets", table(layers=rotated))
    blueprint = with_key(blueprint, "no_rope_layers", [int((layer + 1) % 4 > 0) for layer in range(36)])
    found = settled(blueprint, profile)
    assert "hf_config.no_rope_layers" in found["no_rope_freq"].code
    assert found["rotary_base"].config_key == "rope_theta"


def test_a_scaled_table_has_no_row_without_its_block(profile):
    """What the model class does not take on is a gap, and never the adapter's own scaling."""
    gaps = rules.settle(with_fact(dense(), "rope.sets", table(type="dynamic")), profile, frozenset()).gaps
    assert [gap.subject for gap in gaps] == ["rope.sets"]


def test_attributes_get_the_adapters_names():
    rows = [
        Setting("seq_length", "1", config_key="n"),
        Setting("gated_linear_unit", "True"),
        Setting("moe_permute_fusion", "1"),
    ]
    found, gaps = rules.for_adapter(rows, frozenset({"max_sequence_length", "swiglu"}), frozenset())
    assert {row.attribute for row in found} == {"max_sequence_length", "swiglu"}
    assert gaps == []


def test_the_last_setting_of_a_field_counts():
    rows = [Setting("qk_layernorm", "False"), Setting("qk_layernorm", "True")]
    found, _ = rules.for_adapter(rows, frozenset({"qk_layernorm"}), frozenset())
    assert [row.code for row in found] == ["True"]


def test_an_unknown_field_is_a_gap_unless_the_model_adds_it():
    rows = [Setting("clip_qkv", "8.0")]
    assert [gap.subject for gap in rules.for_adapter(rows, frozenset(), frozenset())[1]] == ["clip_qkv"]
    assert rules.for_adapter(rows, frozenset(), frozenset({"clip_qkv"}))[1] == []


def test_sizes_of_latent_attention_are_stated():
    found = {row.attribute: row.config_key for row in rules.latent_settings(latent())}
    assert found["kv_lora_rank"] == "kv_lora_rank"
    assert found["qk_head_dim"] == "qk_nope_head_dim"
    assert rules.latent_settings(dense()) == ()


def test_yarn_of_latent_attention_follows_the_rope_dict():
    found = {row.attribute: row.code for row in rules.latent_settings(yarn(latent()))}
    assert found["rotary_scaling_factor"] == 'hf_config.rope_parameters["factor"]'
    assert "mscale" not in found, "this config has none, and the default is transformers' own"
    assert "rotary_scaling_factor" not in {row.attribute for row in rules.latent_settings(latent())}


def test_dropout_is_off_unless_the_config_says_otherwise():
    codes = {row.attribute: (row.code, row.config_key) for row in rules.training_settings(dense())}
    assert codes["hidden_dropout"] == ("0.0", None)
    assert codes["attention_dropout"] == ("hf_config.attention_dropout", "attention_dropout")


def test_sizes_that_no_layer_has_are_given_for_megatron_core_divides_by_them():
    without = tuple(row for row in dense().facts if row.name not in ("num_attention_heads", "num_query_groups"))
    found = rules.unused_sizes(dataclasses.replace(dense(), facts=without))
    assert [row.attribute for row in found] == ["num_attention_heads", "num_query_groups"]
    assert rules.unused_sizes(dense()) == ()


def test_every_renaming_and_omission_is_of_an_attribute_that_shared_rows_set(profile):
    """A row that nothing asks for would be dead knowledge."""
    stacked = changed(mixture(), (fact("moe.shared_gate", True, Const(True)),), ())
    asked = {row.attribute for row in rules.settle(stacked, profile, frozenset()).settings}
    assert {"seq_length", "vocab_size", "share_embeddings_and_output_weights"} <= asked
    assert {"moe_grouped_gemm", "moe_token_dispatcher_type", "moe_permute_fusion"} <= asked
    assert set(rules.BEFORE) <= asked
