"""Mixers that megatron-core has no module for: one gap that names the tensor, where nothing was understood."""

from __future__ import annotations

from typing import Any

import pytest

from scaffold_tools.blueprint.derive import derive_blueprint
from scaffold_tools.blueprint.foreign import ROWS, find_foreign
from scaffold_tools.blueprint.roles import pattern_of
from scaffold_tools.source.inventory import Inventory, Source, TensorInfo, TensorTable

BROKEN = {"error": "the probe failed (probe: RuntimeError: no [modeling_x.py:12 < y.py:3])"}
SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "hashed attention": {
        "m.layers.0.attention.self_attention.query_key.weight": (64, 64),
        "m.layers.0.attention.self_attention.value.weight": (64, 64),
    },
    "alternating streams": {"m.layers.0.altup.prediction_coefs.weight": (16, 4)},
    "byte patches": {"m.local_encoder.patch_embedding_projection.weight": (64, 32)},
    "Mamba 1": {"m.layers.0.mixer.A_log": (128, 16)},
    "shared transformer": {"m.layers.5.shared_transformer.self_attn.q_proj.weight": (64, 64)},
    "parallel mixers": {
        "m.layers.0.mamba.A_log": (8,),
        "m.layers.0.self_attn.q_proj.weight": (64, 64),
    },
    "hyper-connections": {"m.layers.0.attn_hc.fn": (24, 256), "m.layers.0.input_layernorm.weight": (64,)},
    "several attentions a layer": {
        "m.layers.0.self_attn.1.q_proj.weight": (64, 64),
        "m.layers.0.mlp.experts.0.up_proj.weight": (96, 64),
    },
    "routed attention": {"m.layers.0.self_attention.experts.input_linear.weight": (8, 64, 64)},
    "RWKV": {"m.blocks.0.attention.time_decay": (64,)},
    "mLSTM": {"m.blocks.0.mlstm_layer.igate_preact.weight": (4, 64)},
    "RG-LRU": {"m.layers.0.temporal_block.rg_lru.recurrent_param": (64,)},
    "short convolution": {"m.layers.0.conv.conv.weight": (64, 1, 3), "m.layers.0.conv.in_proj.weight": (192, 64)},
    "lightning attention": {"m.layers.0.self_attn.slope_rate": (4, 1, 1)},
    "gated linear attention": {
        "m.layers.0.self_attn.output_gate.weight": (64, 64),
        "m.layers.0.self_attn.qkv_proj.weight": (192, 64),
    },
}


def table(shapes: dict[str, tuple[int, ...]]) -> list[TensorInfo]:
    return [TensorInfo(name, shape, "F32") for name, shape in shapes.items()]


def understood(*failures: dict[str, Any]) -> dict[str, Any]:
    variant = {"failures": list(failures), "names": {}, "uses": {"m.layers.0.mixer.A_log": "modeling_m.py:7"}}
    return {"variants": {"a": variant, "b": variant}}


def test_every_kind_of_mixer_is_shown() -> None:
    assert set(SHAPES) == {row.kind for row in ROWS}


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_each_mixer_is_one_gap_that_names_its_tensor(kind: str) -> None:
    row = next(row for row in ROWS if row.kind == kind)
    (gap,) = find_foreign(table(SHAPES[kind]), BROKEN)
    first = next(iter(SHAPES[kind]))
    assert gap.subject == pattern_of(first)
    assert row.reason in gap.reason and gap.hf_source == "modeling_x.py:12"
    assert gap.write_what == f"megatron-core has to gain {row.gain}"


def test_the_line_is_that_of_the_tensors_first_use() -> None:
    lost = understood({"subject": "structure", "reason": "no softmax", "where": None})
    (gap,) = find_foreign(table(SHAPES["Mamba 1"]), lost)
    assert gap.hf_source == "modeling_m.py:7"


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_a_model_that_was_understood_has_no_foreign_mixer(kind: str) -> None:
    assert find_foreign(table(SHAPES[kind]), understood()) == ()
    assert find_foreign(table(SHAPES[kind]), None) == ()


def test_a_decay_a_head_is_not_mamba_1() -> None:
    assert find_foreign(table({"m.layers.0.mixer.A_log": (8,)}), BROKEN) == ()


def test_attention_in_another_layer_is_not_beside_a_state_space_layer() -> None:
    shapes = {"m.layers.0.mamba.A_log": (8,), "m.layers.10.self_attn.q_proj.weight": (64, 64)}
    assert find_foreign(table(shapes), BROKEN) == ()


def test_the_convolution_of_a_linear_attention_is_no_routed_projection() -> None:
    assert find_foreign(table({"m.layers.0.linear_attn.conv1d.weight": (64, 1, 4)}), BROKEN) == ()


def test_numbered_linears_of_one_attention_are_not_several_attentions() -> None:
    shapes = {"m.layers.0.attn.2.weight": (64, 64), "m.layers.0.mlp.experts.0.up_proj.weight": (96, 64)}
    assert find_foreign(table(shapes), BROKEN) == ()


def test_a_convolution_alone_is_no_short_convolution_mixer() -> None:
    assert find_foreign(table({"m.layers.0.conv.conv.weight": (64, 1, 3)}), BROKEN) == ()


def test_the_one_gap_takes_the_place_of_all_that_follows_from_it() -> None:
    shapes = {"m.embed_tokens.weight": (512, 64), "m.layers.0.mixer.dt_proj.bias": (128,), **SHAPES["Mamba 1"]}
    config = {"architectures": ["XForCausalLM"], "model_type": "x", "hidden_size": 64, "num_hidden_layers": 1}
    tensors = TensorTable(tuple(table(shapes)), "headers")
    inventory = Inventory(Source("x", "folder", "x"), config, tensors)
    blueprint = derive_blueprint(inventory, None, BROKEN)
    assert [gap.subject for gap in blueprint.gaps] == ["m.layers.*.mixer.A_log"]
    assert any(note.startswith("probe: ") for note in blueprint.notes)
