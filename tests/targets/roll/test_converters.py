"""Operations for every tensor: names without prefixes, one operation a tensor, layouts of fused tensors."""

from __future__ import annotations

import dataclasses

import pytest

from scaffold_tools.targets.megatron_bridge.blocks import choose_blocks
from scaffold_tools.targets.megatron_bridge.mixer_rules import ROWS
from scaffold_tools.targets.roll.converters import convert_roles, mca_name
from scaffold_tools.targets.roll.homes import Home
from targets.blueprints import fact, role
from tests.targets.roll.models import changed, dense, fused, latent, mixture


def converted(blueprint):
    return convert_roles(blueprint, choose_blocks(blueprint).megatron_names)


@pytest.mark.parametrize(
    ("megatron", "name"),
    [
        ("embedding.word_embeddings.weight", "embedding.word_embeddings.weight"),
        ("decoder.layers.*.self_attention.linear_qkv.weight", ".self_attention.linear_qkv.weight"),
        ("decoder.layers.*.mlp.experts.linear_fc1.weight*", ".linear_fc1.weight"),
        ("decoder.layers.*.mlp.experts.linear_fc2.bias*", ".linear_fc2.bias"),
        ("decoder.layers.*.mlp.shared_experts.linear_fc1.weight", ".mlp.shared_experts.linear_fc1.weight"),
    ],
)
def test_a_parameter_loses_what_the_adapter_puts_before_it(megatron, name):
    assert mca_name(megatron) == name


@pytest.mark.parametrize("model", [dense, mixture, latent, fused])
def test_every_tensor_meets_one_operation(model):
    found = converted(model())
    assert found.gaps == ()
    names = [name for row in found.operations for name in row.hf]
    assert len(names) == len(set(names))
    assert len(names) == len(model().roles)


def test_a_tensor_without_a_role_is_a_gap_and_not_left_out():
    odd = role("moe.odd", "model.layers.*.mlp.odd.weight", (4, 4))
    found = converted(changed(mixture(), (), (odd,)))
    assert [gap.subject for gap in found.gaps] == [odd.pattern]
    assert "converter operation" in str(found.gaps[0].write_what)


@pytest.mark.parametrize("kind", sorted({row.role.partition(".")[0] for row in ROWS}))
def test_no_parameter_of_a_mixer_begins_another_ones_name(kind):
    """The adapter matches names from the front, and not to their end: `decay` would take `decay_gate_bias` too."""
    given = {row.name for row in ROWS if row.role.partition(".")[0] == kind}
    assert [(short, long) for short in given for long in given if short != long and long.startswith(short)] == []


def test_prefixes_are_those_of_the_model():
    assert converted(dense()).layer_prefix == "model.layers."
    assert converted(dense()).moe_prefix is None
    assert converted(mixture()).moe_prefix == ".mlp.experts."
    elsewhere = tuple(
        dataclasses.replace(row, pattern=row.pattern.replace("model.layers.", "transformer.h."))
        for row in dense().roles
    )
    assert converted(dataclasses.replace(dense(), roles=elsewhere)).layer_prefix == "transformer.h."


def test_two_stacks_of_layers_are_a_gap():
    rows = dense().roles
    moved = dataclasses.replace(rows[-1], pattern="other.layers.*.mlp.down_proj.weight")
    gaps = converted(dataclasses.replace(dense(), roles=(*rows[:-1], moved))).gaps
    assert any("hf_layer_prefix" in gap.reason for gap in gaps)


def test_the_norm_before_experts_is_elsewhere_than_before_an_mlp():
    found = converted(mixture())
    assert Home(".pre_mlp_layernorm.", ".mlp.linear_fc1.layer_norm_", "moe_layer_freq", False) in found.homes
    assert {".pre_mlp_layernorm.weight", ".mlp.linear_fc1.layer_norm_weight"} <= set(found.parameters)
    every = changed(mixture(), (fact("moe.layers", [True] * 36),), ())
    assert converted(every).homes == ()
    assert ".mlp.linear_fc1.layer_norm_weight" not in converted(every).parameters
    assert converted(dense()).homes == ()


@pytest.mark.parametrize(
    ("packing", "order", "blocks"),
    [
        ("concat:q,k,v", ("q", "k", "v"), "1"),
        ("concat:k,q,v", ("k", "q", "v"), "1"),
        ("blocks4:q,v,k", ("q", "v", "k"), "4"),
        ("grouped:v,q,k", ("v", "q", "k"), "groups"),
    ],
)
def test_a_fused_projection_keeps_its_layout(packing, order, blocks):
    rows = tuple(dataclasses.replace(row, packing=packing) if row.role == "attn.qkv" else row for row in fused().roles)
    found = converted(dataclasses.replace(fused(), roles=rows))
    (own,) = [row for row in found.local if row.kind == "fused_qkv"]
    assert (own.order, own.blocks) == (order, blocks)


def test_megatrons_own_layout_is_renamed():
    rows = tuple(
        dataclasses.replace(row, packing="grouped:q,k,v") if row.role == "attn.qkv" else row for row in fused().roles
    )
    found = converted(dataclasses.replace(fused(), roles=rows))
    (row,) = [row for row in found.operations if ".self_attn.qkv_proj.weight" in row.hf]
    assert row.name == "RenameConverOp"


@pytest.mark.parametrize(("packing", "order"), [("concat:gate,up", "gate"), ("concat:up,gate", "up")])
def test_halves_of_an_mlp_are_never_swapped(packing, order):
    rows = tuple(
        dataclasses.replace(row, packing=packing) if row.role == "mlp.gate_up" else row for row in fused().roles
    )
    (own,) = [row for row in converted(dataclasses.replace(fused(), roles=rows)).local if row.kind == "fused_gate_up"]
    assert own.order[0] == order


def test_an_unknown_layout_is_a_gap():
    rows = tuple(
        dataclasses.replace(row, packing="spiral:q,k,v") if row.role == "attn.qkv" else row for row in fused().roles
    )
    gaps = converted(dataclasses.replace(fused(), roles=rows)).gaps
    assert any("no converter operation unpacks spiral:q,k,v" in gap.reason for gap in gaps)


def test_stacked_experts_are_one_operation_over_all_of_them():
    stacked = role("moe.expert.gate_up", "model.layers.*.mlp.experts.gate_up_proj", (16, 2816, 4096))
    stacked = dataclasses.replace(stacked, packing="stacked;transposed;interleaved:gate,up")
    down = role(
        "moe.expert.down", "model.layers.*.mlp.experts.down_proj", (16, 1408, 4096), packing="stacked;transposed"
    )
    found = converted(changed(mixture(), (), (stacked, down), ("moe.expert.",)))
    assert found.gaps == ()
    assert found.stacked
    (own,) = [row for row in found.local if row.kind == "stacked_gate_up"]
    assert (own.interleaved, own.transposed, own.order) == (True, True, ("gate", "up"))
    assert ".linear_fc1.weight" in found.parameters
    assert not converted(mixture()).stacked


def test_output_biases_of_stacked_experts_are_handed_on_as_halves():
    stacked = tuple(
        dataclasses.replace(
            role(f"moe.expert.{name}", f"model.layers.*.mlp.experts.{name}{end}", shape, param), packing=packing
        )
        for name, end, shape, param, packing in (
            ("gate_up", "", (16, 2816, 4096), "weight", "stacked;concat:gate,up"),
            ("gate_up", "_bias", (16, 2816), "bias", "stacked;concat:gate,up"),
            ("down", "", (16, 4096, 1408), "weight", "stacked"),
            ("down", "_bias", (16, 4096), "bias", "stacked"),
        )
    )
    found = converted(changed(mixture(), (fact("moe.expert_bias", True),), stacked, ("moe.expert.",)))
    assert found.gaps == ()
    assert "stacked_bias" in {row.kind for row in found.local}
    assert ".linear_fc2.bias" in found.parameters


def test_buffers_are_not_looked_for():
    buffer = role("buffer", "model.layers.*.self_attn.rotary_emb.inv_freq", (64,), "other")
    assert converted(changed(dense(), (), (buffer,))).ignored == (".self_attn.rotary_emb.inv_freq",)


def test_a_gate_among_the_rows_of_queries_is_told_from_one_of_its_own():
    gated = changed(dense(), (fact("attention.output_gate", True),), ())
    assert "GatedQKVConverOp" in {row.name for row in converted(gated).operations}
    own = role("attn.output_gate", "model.layers.*.self_attn.g_proj.weight", (32, 4096))
    names = {row.name for row in converted(changed(gated, (), (own,))).operations}
    assert "QKVConverOp" in names
    assert "GatedQKVConverOp" not in names
