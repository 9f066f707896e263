"""Every tensor pattern is consumed once, or is a gap."""

from __future__ import annotations

import dataclasses

from scaffold_tools.targets.megatron_bridge.mappings import FUSED_GATE_UP, FUSED_UP_GATE, map_roles
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
    assert packed("concat:gate,up", "mlp.gate_up").fused[0].name == FUSED_GATE_UP
    assert packed("concat:up,gate", "mlp.gate_up").fused[0].name == FUSED_UP_GATE
    assert packed("interleaved:gate,up", "mlp.gate_up").gaps


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
