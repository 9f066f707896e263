"""Each quantised format by the layout it is stored in; what the config says of it; where the two differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from classify.layouts import LLAMA, Layout, dense_layout, inventory, quantised
from scaffold_tools.classify.model import classify
from scaffold_tools.classify.quantisation import Quantisation

Shape = Callable[[int, int], list[int]]


class Stored(NamedTuple):
    format: str
    block: tuple[int, ...] | None
    bits: int | None
    parts: dict[str, tuple[str, Any]]
    config: dict[str, Any]


def same(out: int, into: int) -> list[int]:
    return [out, into]


def one(out: int, into: int) -> list[int]:
    return []


def groups(size: int) -> Shape:
    return lambda out, into: [out, into // size]


def compressed(packing: str, **weights: Any) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": None}
    return {"quant_method": "compressed-tensors", "format": packing, "config_groups": {"group_0": group}}


FORMATS = {
    "fp8 in blocks": Stored(
        "fp8-block",
        (128, 128),
        8,
        {"weight": ("F8_E4M3", same), "weight_scale_inv": ("F32", lambda o, i: [-(-o // 128), -(-i // 128)])},
        {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"},
    ),
    "fp8 in blocks of another size": Stored(
        "fp8-block",
        (64, 32),
        8,
        {"weight": ("F8_E4M3", same), "weight_scale_inv": ("F32", lambda o, i: [-(-o // 64), -(-i // 32)])},
        {"quant_method": "fp8", "weight_block_size": [64, 32]},
    ),
    "fp8 with one scale a tensor": Stored(
        "fp8-tensor",
        None,
        8,
        {"weight": ("F8_E4M3", same), "weight_scale": ("F32", one), "input_scale": ("F32", one)},
        {"quant_method": "fp8", "activation_scheme": "static"},
    ),
    "fp8 with a scale a row": Stored(
        "fp8-channel",
        None,
        8,
        {"weight": ("F8_E4M3", same), "weight_scale": ("BF16", lambda o, i: [o, 1])},
        compressed("float-quantized", type="float", num_bits=8, strategy="channel"),
    ),
    "mxfp4 of compressed-tensors": Stored(
        "mxfp4",
        (1, 32),
        4,
        {"weight_packed": ("U8", lambda o, i: [o, i // 2]), "weight_scale": ("U8", groups(32))},
        compressed("mxfp4-pack-quantized", type="float", num_bits=4, strategy="group", group_size=32),
    ),
    "nvfp4 of modelopt": Stored(
        "nvfp4",
        (1, 16),
        4,
        {
            "weight": ("U8", lambda o, i: [o, i // 2]),
            "weight_scale": ("F8_E4M3", groups(16)),
            "weight_scale_2": ("F32", one),
            "input_scale": ("F32", one),
        },
        {"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16},
    ),
    "nvfp4 of compressed-tensors": Stored(
        "nvfp4",
        (1, 16),
        4,
        {
            "weight_packed": ("U8", lambda o, i: [o, i // 2]),
            "weight_scale": ("F8_E4M3", groups(16)),
            "weight_global_scale": ("F32", lambda o, i: [1]),
        },
        compressed("nvfp4-pack-quantized", type="float", num_bits=4, strategy="tensor_group", group_size=16),
    ),
    "int4 packed in groups": Stored(
        "int-packed",
        (1, 128),
        4,
        {
            "weight_packed": ("I32", lambda o, i: [o, i // 8]),
            "weight_scale": ("BF16", groups(128)),
            "weight_shape": ("I64", lambda o, i: [2]),
        },
        compressed("pack-quantized", type="int", num_bits=4, strategy="group", group_size=128),
    ),
    "int8 packed with a scale a row": Stored(
        "int-packed",
        None,
        8,
        {
            "weight_packed": ("I32", lambda o, i: [o, i // 4]),
            "weight_scale": ("BF16", lambda o, i: [o, 1]),
            "weight_shape": ("I64", lambda o, i: [2]),
        },
        compressed("pack-quantized", type="int", num_bits=8, strategy="channel"),
    ),
    "int8 packed in groups": Stored(
        "int-packed",
        (1, 64),
        8,
        {
            "weight_packed": ("I32", lambda o, i: [o, i // 4]),
            "weight_scale": ("BF16", groups(64)),
            "weight_shape": ("I64", lambda o, i: [2]),
        },
        compressed("pack-quantized", type="int", num_bits=8, strategy="group", group_size=64),
    ),
    "int8": Stored(
        "int8",
        None,
        8,
        {"weight": ("I8", same), "weight_scale": ("BF16", lambda o, i: [o, 1])},
        compressed("int-quantized", type="int", num_bits=8, strategy="channel"),
    ),
    "gptq": Stored(
        "gptq",
        (1, 128),
        4,
        {
            "qweight": ("I32", lambda o, i: [i // 8, o]),
            "qzeros": ("I32", lambda o, i: [i // 128, o // 8]),
            "scales": ("F16", lambda o, i: [i // 128, o]),
            "g_idx": ("I32", lambda o, i: [i]),
        },
        {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False},
    ),
    "awq": Stored(
        "awq",
        (1, 64),
        4,
        {
            "qweight": ("I32", lambda o, i: [i, o // 8]),
            "qzeros": ("I32", lambda o, i: [i // 64, o // 8]),
            "scales": ("F16", lambda o, i: [i // 64, o]),
        },
        {"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True, "version": "gemm"},
    ),
    "bitsandbytes nf4": Stored(
        "bnb-nf4",
        (64,),
        4,
        {
            "weight": ("U8", lambda o, i: [o * i // 2, 1]),
            "weight.absmax": ("U8", lambda o, i: [o * i // 64]),
            "weight.quant_map": ("F32", lambda o, i: [16]),
            "weight.nested_absmax": ("F32", lambda o, i: [o * i // 64 // 256]),
            "weight.nested_quant_map": ("F32", lambda o, i: [256]),
            "weight.quant_state.bitsandbytes__nf4": ("U8", lambda o, i: [80]),
        },
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    ),
    "bitsandbytes fp4": Stored(
        "bnb-fp4",
        (64,),
        4,
        {
            "weight": ("U8", lambda o, i: [o * i // 2, 1]),
            "weight.absmax": ("F32", lambda o, i: [o * i // 64]),
            "weight.quant_map": ("F32", lambda o, i: [16]),
            "weight.quant_state.bitsandbytes__fp4": ("U8", lambda o, i: [80]),
        },
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
    ),
    "mxfp8": Stored(
        "mxfp8",
        (1, 32),
        8,
        {"weight": ("F8_E4M3", same), "weight_scale": ("U8", groups(32))},
        {"quant_method": "modelopt", "quant_algo": "MXFP8"},
    ),
    "int4 of modelopt": Stored(
        "int4-modelopt",
        (1, 128),
        4,
        {"weight": ("U8", lambda o, i: [o // 2, i]), "weight_scale": ("BF16", groups(128))},
        {"quant_method": "modelopt", "quant_algo": "W4A16_AWQ", "group_size": 128},
    ),
    "gptq in eight bits": Stored(
        "gptq",
        (1, 64),
        8,
        {
            "qweight": ("I32", lambda o, i: [i // 4, o]),
            "qzeros": ("I32", lambda o, i: [i // 64, o // 4]),
            "scales": ("F16", lambda o, i: [i // 64, o]),
            "g_idx": ("I32", lambda o, i: [i]),
        },
        {"quant_method": "gptq", "bits": 8, "group_size": 64, "desc_act": True},
    ),
    "torchao int8": Stored(
        "torchao",
        None,
        None,
        {"_weight_qdata": ("I8", same), "_weight_scale": ("F32", lambda o, i: [o, 1])},
        {"quant_method": "torchao", "quant_type": {"default": {"_type": "Int8WeightOnlyConfig", "_version": 2}}},
    ),
    "bitsandbytes int8": Stored(
        "bnb-int8",
        None,
        8,
        {"weight": ("I8", same), "SCB": ("F32", lambda o, i: [o]), "weight_format": ("U8", one)},
        {"quant_method": "bitsandbytes", "load_in_8bit": True},
    ),
}


def of(config: dict[str, Any] | None, layout: Layout, **more: Any) -> Quantisation | None:
    return classify(
        inventory({**LLAMA, **({"quantization_config": config} if config else {})}, layout, **more)
    ).quantisation


def certain(found: Quantisation | None) -> Quantisation:
    assert found is not None
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_tensors_and_config_agree_on_the_format(name: str) -> None:
    stored = FORMATS[name]
    found = certain(of(stored.config, quantised(stored.parts)))
    assert (found.format, found.block_shape, found.bits) == (stored.format, stored.block, stored.bits)
    assert found.disagreements == ()
    assert {item.source for item in found.evidence} == {"tensor", "key"}


@pytest.mark.parametrize("name", FORMATS)
def test_tensors_alone_name_the_format_and_the_silence_of_the_config_is_said(name: str) -> None:
    stored = FORMATS[name]
    found = certain(of(None, quantised(stored.parts)))
    assert (found.format, found.method) == (stored.format, None)
    assert ["no config declares" in item.detail for item in found.disagreements] == [True]


@pytest.mark.parametrize("name", FORMATS)
def test_a_config_alone_names_the_format(name: str) -> None:
    stored = FORMATS[name]
    found = classify(inventory({**LLAMA, "quantization_config": stored.config})).quantisation
    assert certain(found).format == stored.format
    assert certain(found).disagreements == ()


@pytest.mark.parametrize("name", FORMATS)
def test_a_declared_format_that_no_tensor_shows_is_a_disagreement(name: str) -> None:
    found = certain(of(FORMATS[name].config, dense_layout()))
    assert ["no tensor of the checkpoint is quantised" in item.detail for item in found.disagreements] == [True]
    assert certain(of(FORMATS[name].config, dense_layout(), derived=True)).disagreements == ()


@pytest.mark.parametrize("name", FORMATS)
def test_weights_are_counted_by_the_values_they_hold(name: str) -> None:
    plain = classify(inventory(LLAMA, dense_layout())).parameters
    config = {**LLAMA, "quantization_config": FORMATS[name].config}
    assert classify(inventory(config, quantised(FORMATS[name].parts))).parameters == plain


def test_a_width_that_no_group_explains_is_still_a_disagreement() -> None:
    parts = {"weight_packed": ("I32", lambda o, i: [o, i // 8]), "weight_scale": ("BF16", groups(32))}
    found = certain(of(compressed("pack-quantized", type="int", num_bits=8, strategy="group"), quantised(parts)))
    assert found.bits == 4
    assert "width in bits" in found.disagreements[0].detail


def test_an_unquantised_checkpoint_is_not_quantised() -> None:
    assert of(None, dense_layout()) is None


def test_another_block_than_declared_is_a_disagreement() -> None:
    stored = FORMATS["fp8 in blocks"]
    found = certain(of({**stored.config, "weight_block_size": [64, 64]}, quantised(stored.parts)))
    assert found.block_shape == (128, 128)
    assert "64x64" in found.disagreements[0].detail


def test_another_format_than_declared_is_a_disagreement_and_the_tensors_win() -> None:
    found = certain(of(FORMATS["awq"].config, quantised(FORMATS["gptq"].parts)))
    assert found.format == "gptq"
    assert "declares awq" in found.disagreements[0].detail


def test_a_module_declared_left_alone_that_has_scales_is_a_disagreement() -> None:
    stored = FORMATS["fp8 in blocks"]
    lies = {**stored.config, "modules_to_not_convert": ["model.layers.0.self_attn.q_proj"]}
    honest = {**stored.config, "modules_to_not_convert": ["lm_head"]}
    assert "left alone" in certain(of(lies, quantised(stored.parts))).disagreements[0].detail
    assert certain(of(honest, quantised(stored.parts))).disagreements == ()


def test_layers_left_alone_beside_quantised_ones_agree_with_a_config_that_names_them() -> None:
    stored = FORMATS["fp8 in blocks"]
    plain = {name: value for name, value in dense_layout().items() if ".layers.0.self_attn.q_proj." in name}
    layout = {
        name: value for name, value in quantised(stored.parts).items() if ".layers.0.self_attn.q_proj." not in name
    }
    config = {**stored.config, "modules_to_not_convert": ["model.layers.0.self_attn.q_proj"]}
    assert certain(of(config, layout | plain)).disagreements == ()
    lies = {**stored.config, "modules_to_not_convert": ["model.layers.1.self_attn.q_proj"]}
    assert "layers.1" in certain(of(lies, layout | plain)).disagreements[0].detail
    counted = classify(inventory(LLAMA, layout | plain)).parameters
    assert counted == classify(inventory(LLAMA, dense_layout())).parameters


def test_fp8_without_scales_is_said() -> None:
    found = certain(of(None, quantised({"weight": ("F8_E4M3", same)})))
    assert any("no scale" in item.detail for item in found.disagreements)


def test_openai_mxfp4_experts_are_seen_in_their_blocks() -> None:
    layout = dense_layout()
    layout["model.layers.0.mlp.experts.gate_up_proj_blocks"] = ("U8", [4, 256, 16, 16])
    layout["model.layers.0.mlp.experts.gate_up_proj_scales"] = ("U8", [4, 256, 16])
    layout["model.layers.0.mlp.experts.gate_up_proj_bias"] = ("BF16", [4, 256])
    found = certain(of({"quant_method": "mxfp4"}, layout))
    assert (found.format, found.block_shape, found.scale_tensors) == ("mxfp4", (1, 32), ("scales",))
    assert found.disagreements == ()


def test_fused_fp8_experts_are_seen_in_their_blocks() -> None:
    layout = dense_layout()
    layout["model.layers.0.mlp.experts.down_proj"] = ("F8_E4M3", [4, 512, 256])
    layout["model.layers.0.mlp.experts.down_proj_scale_inv"] = ("F32", [4, 4, 2])
    found = certain(of({"quant_method": "fp8", "weight_block_size": [128, 128]}, layout))
    assert (found.format, found.block_shape) == ("fp8-block", (128, 128))
    assert found.disagreements == ()


def test_two_formats_in_one_checkpoint_are_both_named() -> None:
    fp8, nvfp4 = FORMATS["fp8 with one scale a tensor"], FORMATS["nvfp4 of modelopt"]
    layout = quantised(nvfp4.parts) | {
        name: value for name, value in quantised(fp8.parts).items() if ".layers.1.self_attn.k_proj." in name
    }
    for part in ("weight_scale_2",):
        del layout[f"model.layers.1.self_attn.k_proj.{part}"]
    found = certain(of({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}, layout))
    assert {found.format, *found.other_formats} == {"nvfp4", "fp8-tensor"}


def test_hf_quant_config_is_read_and_compared() -> None:
    extra = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": None}}
    layout = quantised(FORMATS["fp8 with one scale a tensor"].parts)
    found = certain(classify(inventory(LLAMA, layout, quantization=extra)).quantisation)
    assert (found.method, found.format, found.disagreements) == ("modelopt", "fp8-tensor", ())
    wrong = certain(classify(inventory(LLAMA, quantised(FORMATS["awq"].parts), quantization=extra)).quantisation)
    assert wrong.format == "awq"
    assert wrong.disagreements


def test_cache_scales_are_named() -> None:
    layout = quantised(FORMATS["fp8 with one scale a tensor"].parts)
    layout["model.layers.0.self_attn.k_scale"] = ("F32", [])
    assert "k_scale" in (certain(of(None, layout)).kv_cache or "")


def test_an_unknown_method_is_named_as_it_is() -> None:
    found = certain(classify(inventory({**LLAMA, "quantization_config": {"quant_method": "zorp"}})).quantisation)
    assert (found.method, found.format) == ("zorp", "zorp")
