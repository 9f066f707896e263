"""How a quantised checkpoint is stored is one value of the blueprint; everything else is told as if it were not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from classify.layouts import LLAMA, dense_layout, inventory, quantised
from classify.test_quantised import FORMATS
from scaffold_tools.blueprint.derive import derive_blueprint
from scaffold_tools.blueprint.facts import Blueprint, TensorRole
from scaffold_tools.blueprint.stored import derive_stored, stored_gaps, without_quantisation
from scaffold_tools.blueprint.stored_declared import is_left_alone
from scaffold_tools.blueprint.stored_tensors import logical_tensors
from scaffold_tools.classify.model import classify
from scaffold_tools.jsonio import dumps, loads
from scaffold_tools.source.read import read_inventory

CONFIGS = Path(__file__).parent.parent / "data" / "configs"
FLAT = ("bitsandbytes nf4", "bitsandbytes fp4")
"""Formats whose headers do not tell the shape of a weight."""


@pytest.mark.parametrize("name", FORMATS)
def test_a_quantised_table_is_told_as_the_unquantised_one(name: str) -> None:
    given = inventory({**LLAMA, "quantization_config": FORMATS[name].config}, quantised(FORMATS[name].parts))
    assert given.tensors is not None
    table = without_quantisation(given, classify(given)).tensors
    assert table is not None
    shapes = {info.name: list(info.shape) for info in table.tensors}
    plain = {tensor: shape for tensor, (_, shape) in dense_layout().items()}
    assert shapes.keys() == plain.keys()
    if name not in FLAT:
        assert shapes == plain


@pytest.mark.parametrize("name", FORMATS)
def test_every_part_of_every_weight_has_its_place(name: str) -> None:
    given = inventory({**LLAMA, "quantization_config": FORMATS[name].config}, quantised(FORMATS[name].parts))
    stored = derive_stored(given, classify(given), ())
    assert stored is not None
    assert sum(group.tensors for group in stored.groups) == 14
    assert stored.unmatched == ()
    assert stored.certainty == "constrained"
    assert "model.layers.*.self_attn.q_proj.weight" in stored.groups[0].weights


def test_a_scale_without_values_is_a_gap_that_names_it() -> None:
    layout = quantised(FORMATS["fp8 in blocks"].parts)
    layout["model.layers.0.lost.weight_scale_inv"] = ("F32", [4, 4])
    given = inventory({**LLAMA, "quantization_config": FORMATS["fp8 in blocks"].config}, layout)
    stored = derive_stored(given, classify(given), ())
    (gap,) = stored_gaps(stored)
    assert "model.layers.0.lost.weight_scale_inv" in gap.reason


def test_values_that_lost_their_scales_are_a_gap() -> None:
    layout = quantised(FORMATS["fp8 in blocks"].parts)
    del layout["model.layers.1.mlp.down_proj.weight_scale_inv"]
    given = inventory({**LLAMA, "quantization_config": FORMATS["fp8 in blocks"].config}, layout)
    (gap,) = stored_gaps(derive_stored(given, classify(given), ()))
    assert "model.layers.1.mlp.down_proj.weight" in gap.reason


def test_scales_of_activations_and_of_the_cache_belong_to_no_weight() -> None:
    layout = quantised(FORMATS["fp8 with one scale a tensor"].parts)
    layout["model.layers.0.self_attn.k_scale"] = ("F32", [])
    given = inventory(LLAMA, layout)
    assert given.tensors is not None
    logical = logical_tensors(given.tensors)
    assert set(logical.not_weights) == {".input_scale", ".k_scale"}
    assert logical.unmatched == ()


def test_fused_experts_keep_their_name_and_turn_round_as_transformers_has_them() -> None:
    layout = dense_layout()
    layout["model.layers.0.mlp.experts.gate_up_proj_blocks"] = ("U8", [4, 256, 16, 16])
    layout["model.layers.0.mlp.experts.gate_up_proj_scales"] = ("U8", [4, 256, 16])
    given = inventory(LLAMA, layout)
    assert given.tensors is not None
    found = {info.name: info.shape for info in logical_tensors(given.tensors).tensors}
    assert found["model.layers.0.mlp.experts.gate_up_proj"] == (4, 512, 256)


@pytest.mark.parametrize(
    ("folder", "format_name", "end"),
    [
        ("Qwen--Qwen3-30B-A3B-FP8", "fp8-block", ".weight_scale_inv"),
        ("deepseek-ai--DeepSeek-V3", "fp8-block", ".weight_scale_inv"),
        ("moonshotai--Kimi-K2-Instruct", "fp8-block", ".weight_scale_inv"),
        ("MiniMaxAI--MiniMax-M2.5", "fp8-block", ".weight_scale_inv"),
        ("nvidia--Qwen3-235B-A22B-NVFP4", "nvfp4", ".weight_scale_2"),
        ("openai--gpt-oss-20b", "mxfp4", "_scales"),
    ],
)
def test_without_headers_the_declaration_is_taken_at_its_word(folder: str, format_name: str, end: str) -> None:
    given = read_inventory(str(CONFIGS / folder))
    blueprint = derive_blueprint(given, classify(given))
    assert blueprint.stored is not None
    (group,) = blueprint.stored.groups
    assert group.format == format_name
    assert end in dict(group.parts).values()
    assert blueprint.stored.certainty == "declared"
    assert not [gap for gap in blueprint.gaps if gap.subject == "quantization_config"]


def test_what_is_left_alone_is_not_declared_quantised() -> None:
    given = read_inventory(str(CONFIGS / "openai--gpt-oss-20b"))
    roles = (
        TensorRole("attn.q", "model.layers.*.self_attn.q_proj.weight", "weight", ()),
        TensorRole("moe.expert.gate_up", "model.layers.*.mlp.experts.gate_up_proj", "weight", ()),
    )
    stored = derive_stored(given, classify(given), roles)
    assert stored is not None
    assert stored.groups[0].weights == ("model.layers.*.mlp.experts.gate_up_proj",)


@pytest.mark.parametrize(
    ("module", "entry", "alone"),
    [
        ("lm_head", "lm_head", True),
        ("model.layers.*.mlp.gate", "gate", True),
        ("model.layers.*.mlp.gate_proj", "gate", False),
        ("model.layers.*.self_attn.q_proj", "model.layers.*.self_attn", True),
        ("model.layers.*.mlp.experts.*.up_proj", "model.layers.*.self_attn", False),
        ("model.layers.*.mlp.gate", r"re:.*mlp\.gate$", True),
        ("model.layers.*.mlp.gate_proj", r"re:.*mlp\.gate$", False),
        ("model.layers.*.mlp.gate_proj", r"re:.*mlp\.gate", True),
        ("a" * 100, "re:(a+)+b", False),
    ],
)
def test_an_entry_leaves_alone_what_it_names(module: str, entry: str, alone: bool) -> None:
    assert is_left_alone(module, entry) is alone


def test_an_unquantised_checkpoint_stores_nothing_until_its_config_declares_a_format() -> None:
    given = read_inventory(str(CONFIGS / "Qwen--Qwen3-8B"))
    declared = {**given.config, "quantization_config": {"quant_method": "fp8"}}
    assert derive_stored(given, classify(given), ()) is None
    assert derive_stored(given, classify(dataclasses.replace(given, config=declared)), ()) is not None


def test_the_value_survives_the_run_folder() -> None:
    given = inventory(LLAMA, quantised(FORMATS["gptq"].parts))
    blueprint = derive_blueprint(given, classify(given))
    assert loads(Blueprint, dumps(blueprint)) == blueprint
    assert blueprint.stored is not None
