"""Every tensor pattern is consumed once, or is a gap."""

from __future__ import annotations

import dataclasses

from scaffold_tools.targets.megatron_bridge.mappings import map_roles
from targets.blueprints import qwen3, role, with_fact


def consumed(mappings):
    names = [row.hf for row in mappings.renames]
    return names + [name for row in mappings.fused for _, name in row.arguments]


def replaced(*rows, without=()):
    blueprint = qwen3()
    kept = tuple(row for row in blueprint.roles if row.role not in without)
    return dataclasses.replace(blueprint, roles=(*kept, *rows))


def test_every_tensor_is_consumed_exactly_once():
    mappings = map_roles(qwen3())
    assert sorted(consumed(mappings)) == sorted(row.pattern for row in qwen3().roles)
    assert not mappings.gaps


def test_biases_go_where_their_weights_go():
    rows = [
        role(f"attn.{name}", f"model.layers.*.self_attn.{name}_proj.bias", (1024,), "bias") for name in ("q", "k", "v")
    ]
    mappings = map_roles(replaced(*rows))
    fused = next(row for row in mappings.fused if row.megatron.endswith("linear_qkv.bias"))
    assert fused.name == "QKVMapping"
    assert [name for name, _ in fused.arguments] == ["q", "k", "v"]


def test_a_tensor_without_a_home_is_a_gap():
    mappings = map_roles(replaced(role("norm.embed", "model.embed_norm.weight", (4096,))))
    assert [gap.subject for gap in mappings.gaps] == ["model.embed_norm.weight"]
    assert not map_roles(
        replaced(role("norm.embed", "model.embed_norm.weight", (4096,))), {"norm.embed": "embedding.norm"}
    ).gaps


def test_two_tensors_on_one_parameter_are_a_gap():
    assert map_roles(replaced(role("attn.o", "model.layers.*.self_attn.extra.weight", (4096, 4096)))).gaps


def test_packings_have_a_class_or_are_a_gap():
    def packed(packing, name="attn.qkv"):
        row = role(name, "model.layers.*.fused.weight", (6144, 4096), packing=packing)
        return map_roles(replaced(row, without=("attn.q", "attn.k", "attn.v", "mlp.gate", "mlp.up")))

    assert packed("concat:q,k,v").fused[0].name == "ConcatenatedQKVMapping"
    assert "decoder.layers.*.self_attention.linear_qkv.weight" in [r.megatron for r in packed("grouped:q,k,v").renames]
    assert packed("per_head:q,k,v").gaps, "one k and v for each head is not one for each group"
    assert packed("concat:gate,up", "mlp.gate_up").fused[0].name == "FusedGatedMLPMapping"
    assert packed("concat:up,gate", "mlp.gate_up").fused[0].name == "FusedUpGateMLPMapping"
    assert packed("interleaved:gate,up", "mlp.gate_up").local[0].interleaved
    assert packed("blocks4:q,v,k").local[0].blocks == "4"
    assert packed("grouped:k,q,v").local[0].blocks == "groups"
    assert packed("spiral:q,k,v").gaps, "a layout that no template unpacks"


def test_a_weight_stored_in_out_is_turned_and_its_bias_is_not():
    def turned(name, packing=None):
        row = role(name, "model.layers.*.c.weight", (4096, 6144), packing=packing)
        bias = role(name, "model.layers.*.c.bias", (6144,), "bias", packing=packing)
        rows = (dataclasses.replace(row, transposed=True), bias)
        return map_roles(replaced(*rows, without=("attn.q", "attn.k", "attn.v", "attn.o")))

    plain = turned("attn.o")
    assert plain.fused[-1].arguments == (("hf_param", "model.layers.*.c.weight"), ("permute_dims", (1, 0)))
    assert "model.layers.*.c.bias" in [row.hf for row in plain.renames]
    fused = [row.name for row in turned("attn.qkv", "concat:q,k,v").fused]
    assert fused.count("FusedQKVMapping") == 2, "the class turns matrices alone, so both go through it"


def test_separate_projections_stored_in_out_come_with_a_class():
    blueprint = qwen3()
    rows = [dataclasses.replace(row, transposed=row.role in ("mlp.gate", "mlp.up")) for row in blueprint.roles]
    mappings = map_roles(dataclasses.replace(blueprint, roles=tuple(rows)))
    assert [local.kind for local in mappings.local] == ["joined_gate_up"]
    one = [dataclasses.replace(row, transposed=row.role == "mlp.gate") for row in blueprint.roles]
    assert map_roles(dataclasses.replace(blueprint, roles=tuple(one))).gaps, "one of the two stored the other way"


def test_a_tied_model_still_maps_the_head_of_its_untied_siblings():
    blueprint = with_fact(replaced(without=("head",)), "tied_embeddings", True)
    assert "lm_head.weight" in consumed(map_roles(blueprint))


def test_buffers_are_ignored_and_said_so():
    mappings = map_roles(replaced(role("buffer", "model.layers.*.rotary_emb.inv_freq", (64,), "other")))
    assert mappings.ignored == ("model.layers.*.rotary_emb.inv_freq",)
    assert not mappings.gaps


def test_blocks_may_move_a_parameter():
    rows = map_roles(qwen3(), {"norm.pre_attn": "decoder.layers.*.input_layernorm"}).renames
    assert "decoder.layers.*.input_layernorm.weight" in [row.megatron for row in rows]
