"""Rows of gated delta nets: attributes, mappings, and what megatron-core has no place for."""

from __future__ import annotations

import dataclasses

import pytest

from scaffold_tools.blueprint.facts import Const, PerLayer, TensorRole
from scaffold_tools.targets.megatron_bridge.delta_rules import map_delta
from scaffold_tools.targets.megatron_bridge.rules import settle
from targets.blueprints import key, qwen3, with_fact
from targets.test_rules import PROFILE as BARE

FIELDS = (
    *("transformer_layer_spec", "experimental_attention_variant", "linear_attention_freq"),
    *("hetereogenous_dist_checkpoint", "attention_output_gate", "linear_conv_kernel_dim"),
    *("linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim", "linear_value_head_dim"),
)
PROFILE = dataclasses.replace(BARE, provider_fields=BARE.provider_fields | frozenset(FIELDS))
NET = "model.layers.*.linear_attn."
SEPARATE = ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a")


def nets(*roles: tuple[str, str]):
    """qwen3 with gated delta nets of these (role, name) tensors."""
    rows = [TensorRole(role, NET + name, "weight", (8, 8), (0, 1)) for role, name in roles]
    return dataclasses.replace(qwen3(), roles=(*qwen3().roles, *rows))


def attributes(blueprint) -> dict[str, str]:
    return {row.attribute: row.code for row in settle(blueprint, PROFILE).settings}


def test_the_layers_with_a_net_follow_the_key_that_names_them():
    expression = PerLayer("layer_types", (("linear_attention", Const(True)), ("full_attention", Const(False))))
    found = attributes(with_fact(qwen3(), "delta.layers", [True, False] * 18, expression))
    assert found["linear_attention_freq"] == '[int(kind == "linear_attention") for kind in hf_config.layer_types]'
    assert found["experimental_attention_variant"] == '"gated_delta_net"'


def test_a_megatron_core_without_gated_delta_nets_leaves_a_gap():
    blueprint = with_fact(qwen3(), "delta.layers", [True, False], Const([True, False]))
    assert "delta.layers" in {gap.subject for gap in settle(blueprint, BARE).gaps}


def test_an_output_gate_is_switched_on_by_the_fact_alone():
    assert "attention_output_gate" not in attributes(with_fact(qwen3(), "attention.output_gate", False, Const(False)))
    found = attributes(with_fact(qwen3(), "attention.output_gate", True, Const(True)))
    assert found["attention_output_gate"] == "True"


def test_layers_that_no_key_names_are_written_out():
    found = attributes(with_fact(qwen3(), "delta.layers", [True, False], Const([True, False])))
    assert found["linear_attention_freq"] == "[1, 0]"


@pytest.mark.parametrize(
    ("fact", "attribute"),
    [
        ("delta.key_heads", "linear_num_key_heads"),
        ("delta.value_heads", "linear_num_value_heads"),
        ("delta.key_dim", "linear_key_head_dim"),
        ("delta.value_dim", "linear_value_head_dim"),
        ("delta.conv_width", "linear_conv_kernel_dim"),
    ],
)
def test_sizes_of_a_net_follow_their_keys(fact, attribute):
    assert attributes(with_fact(qwen3(), fact, 4, key("some_size")))[attribute] == "hf_config.some_size"


@pytest.mark.parametrize(("fact", "value"), [("delta.write_factor", 2.0), ("delta.norm.eps", 0.123)])
def test_what_the_module_of_megatron_lacks_is_a_gap(fact, value):
    gaps = {gap.subject for gap in settle(with_fact(qwen3(), fact, value, Const(value)), PROFILE).gaps}
    assert fact in gaps


def test_separate_projections_become_one():
    roles = zip(("delta.qkv", "delta.z", "delta.b", "delta.a"), SEPARATE, strict=True)
    _, fused, gaps = map_delta(nets(*roles))
    assert [(row.name, len(row.arguments)) for row in fused] == [("GDNLinearMappingSeparate", 4)]
    assert gaps == []


def test_a_layout_without_a_mapping_class_is_a_gap_for_each_tensor():
    _, fused, gaps = map_delta(nets(("delta.q", "q_proj"), ("delta.conv_q", "q_conv1d")))
    assert fused == []
    assert {gap.subject for gap in gaps} == {NET + "q_proj", NET + "q_conv1d"}


@pytest.mark.parametrize(("own", "name"), [(False, "RMSNorm2ZeroCenteredRMSNormMapping"), (True, None)])
def test_a_norm_that_is_centred_otherwise_than_the_layer_norms_is_shifted(own, name):
    blueprint = with_fact(nets(("delta.norm", "norm.weight")), "norm.zero_centered", True, Const(True))
    _, fused, _ = map_delta(with_fact(blueprint, "delta.norm.zero_centered", own, Const(own)))
    assert [row.name for row in fused] == ([name] if name else [])


def test_the_norm_before_attention_has_a_second_home_in_a_net():
    renames, _, _ = map_delta(nets(("delta.A", "A_log")))
    homes = {row.megatron for row in renames}
    assert "decoder.layers.*.self_attention.in_proj.layer_norm_weight" in homes
    assert map_delta(qwen3()) == ([], [], [])
