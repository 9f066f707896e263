"""Quantised tensors as the libraries that define the formats make them, with what these libraries dequantise them to.

    python tests/data/quantised/make.py PRODUCER [FOLDER]

in an environment that has the producer: transformers, compressed-tensors, nvidia-modelopt, bitsandbytes, torchao,
gptqmodel or autoawq. One file a case: the stored parts under the names that checkpoints have, `expected`, and the
versions in the metadata. Nothing here is computed by formulas of this project.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import save_file

Parts = dict[str, torch.Tensor]
Case = tuple[str, Parts, torch.Tensor]
ROWS, COLUMNS = 64, 96


def normal(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return (torch.randn(*shape or (ROWS, COLUMNS)) * 0.02).to(dtype)


def transformers() -> Iterator[Case]:
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize, Fp8Quantize
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    for name, block, scale_fmt, shape in (
        ("fp8_blocks", (32, 16), None, (ROWS, COLUMNS)),
        ("fp8_blocks_ue8m0", (32, 16), "ue8m0", (ROWS, COLUMNS)),
        ("fp8_blocks_experts", (16, 32), None, (3, 32, 64)),
    ):
        settings = SimpleNamespace(weight_block_size=block, scale_fmt=scale_fmt)
        quantizer = SimpleNamespace(quantization_config=settings)
        parts = Fp8Quantize(quantizer).convert({"proj.weight": normal(*shape)})
        weight, scale = parts["proj.weight"], parts["proj.weight_scale_inv"]
        yield name, parts, Fp8Dequantize(quantizer)._dequantize_one(weight, scale, torch.bfloat16)
    packed = torch.randint(-128, 128, (ROWS, COLUMNS // 2), dtype=torch.int8)
    powers = torch.randint(118, 124, (ROWS, COLUMNS // 32), dtype=torch.uint8).view(torch.float8_e8m0fnu)
    parts = {"proj.weight": packed, "proj.scale": powers}
    yield "fp4_bytes", parts, Fp8Dequantize(quantizer)._dequantize_one(packed, powers, torch.bfloat16)
    blocks = torch.randint(0, 256, (2, 32, 3, 16), dtype=torch.uint8)
    scales = torch.randint(118, 124, (2, 32, 3), dtype=torch.uint8)
    yield "mxfp4_blocks", {"proj_blocks": blocks, "proj_scales": scales}, convert_moe_packed_tensors(blocks, scales)


def compressed_tensors() -> Iterator[Case]:
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

    def case(
        name: str, packing: str, weight: torch.Tensor, grid: Callable[[torch.Tensor], torch.Tensor], **args: Any
    ) -> Case:
        settings = QuantizationArgs(**args)
        scheme = QuantizationScheme(targets=["Linear"], weights=settings)
        compressor = BaseCompressor.get_value_from_registry(packing)
        grouped = grid(weight)
        more = (
            {"global_scale": generate_gparam(weight.min(), weight.max())} if args["strategy"] == "tensor_group" else {}
        )
        scale, zero = calculate_qparams(grouped.amin(-1), grouped.amax(-1), settings, **more)
        state = {"weight": weight, "weight_scale": scale, "weight_zero_point": zero}
        state |= {f"weight_{key}": value for key, value in more.items()}
        packed = compressor.compress(state, scheme)
        expected = compressor.decompress(packed, scheme)["weight"]
        stored = {f"proj.{key}": value.contiguous() for key, value in packed.items()}
        return name, stored, expected.to(torch.bfloat16)

    def groups(size: int) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda weight: weight.unflatten(-1, (-1, size))

    def blocks(rows: int, columns: int) -> Callable[[torch.Tensor], torch.Tensor]:
        def grid(weight: torch.Tensor) -> torch.Tensor:
            tall, wide = math.ceil(weight.shape[0] / rows), math.ceil(weight.shape[1] / columns)
            padded = torch.zeros(tall * rows, wide * columns, dtype=weight.dtype)
            padded[: weight.shape[0], : weight.shape[1]] = weight
            return padded.view(tall, rows, wide, columns).transpose(1, 2).flatten(-2)

        return grid

    whole, float8 = (lambda weight: weight.reshape(1, -1)), {"type": "float", "num_bits": 8}
    rows = lambda weight: weight.unsqueeze(1)  # noqa: E731
    uneven = normal(50, 70)
    yield case(
        "fp8_blocks_uneven", "float-quantized", uneven, blocks(16, 32), **float8, strategy="block",
        block_structure=[16, 32],
    )  # fmt: skip
    yield case("fp8_channel", "float-quantized", normal(), rows, **float8, strategy="channel")
    yield case("fp8_tensor", "float-quantized", normal(), whole, **float8, strategy="tensor")
    yield case("int8", "int-quantized", normal(), rows, type="int", num_bits=8, strategy="channel")
    yield case(
        "int4_groups", "pack-quantized", normal(), groups(32), type="int", num_bits=4, strategy="group", group_size=32
    )
    yield case(
        "int4_groups_zero_points", "pack-quantized", normal() + 0.01, groups(32), type="int", num_bits=4,
        strategy="group", group_size=32, symmetric=False,
    )  # fmt: skip
    yield case(
        "int4_channel_uneven", "pack-quantized", normal(36, 50), rows, type="int", num_bits=4, strategy="channel"
    )
    yield case(
        "int8_groups", "pack-quantized", normal(), groups(32), type="int", num_bits=8, strategy="group", group_size=32
    )
    yield case(
        "nvfp4", "nvfp4-pack-quantized", normal(dtype=torch.float32), groups(16), type="float", num_bits=4,
        strategy="tensor_group", group_size=16, scale_dtype=torch.float8_e4m3fn, zp_dtype=torch.float8_e4m3fn,
    )  # fmt: skip
    yield case(
        "mxfp4", "mxfp4-pack-quantized", normal(), groups(32), type="float", num_bits=4, strategy="group",
        group_size=32, scale_dtype=torch.uint8, zp_dtype=torch.uint8,
    )  # fmt: skip
    yield case(
        "mxfp8", "mxfp8-quantized", normal(), groups(32), type="float", num_bits=8, strategy="group", group_size=32,
        scale_dtype=torch.uint8, zp_dtype=torch.float8_e4m3fn,
    )  # fmt: skip


def nvidia_modelopt() -> Iterator[Case]:
    from modelopt.torch.export.quant_utils import pack_int4_in_uint8
    from modelopt.torch.quantization.qtensor import FP8QTensor, MXFP8QTensor, NVFP4QTensor

    weight = normal(50, 70, dtype=torch.float32)
    sizes = {-1: 32, -2: 16}
    quantised, scale = FP8QTensor.quantize(weight.clone(), block_sizes=sizes)
    parts = {"proj.weight": quantised._quantized_data.contiguous(), "proj.weight_scale": scale}
    yield "fp8_blocks_uneven", parts, quantised.dequantize(torch.float32, scale=scale, block_sizes=sizes)
    weight = normal(dtype=torch.float32)
    quantised, scale = FP8QTensor.quantize(weight.clone())
    parts = {"proj.weight": quantised._quantized_data, "proj.weight_scale": scale.view(())}
    yield "fp8_tensor", parts, quantised.dequantize(torch.float32, scale=scale)
    quantised, scale, double = NVFP4QTensor.quantize(weight.clone(), 16)
    parts = {"proj.weight": quantised._quantized_data, "proj.weight_scale": scale, "proj.weight_scale_2": double}
    yield "nvfp4", parts, quantised.dequantize(torch.float32, scale=scale, double_scale=double, block_sizes={-1: 16})
    experts = normal(2, 32, 64, dtype=torch.float32)
    quantised, scale, double = NVFP4QTensor.quantize(experts.clone(), 16)
    parts = {"proj.weight": quantised._quantized_data, "proj.weight_scale": scale, "proj.weight_scale_2": double}
    expected = quantised.dequantize(torch.float32, scale=scale, double_scale=double, block_sizes={-1: 16})
    yield "nvfp4_experts", parts, expected
    quantised, scale = MXFP8QTensor.quantize(normal())
    parts = {"proj.weight": quantised._quantized_data, "proj.weight_scale": scale}
    yield "mxfp8", parts, quantised.dequantize(torch.bfloat16, scale=scale)
    # What it packs are whole numbers times the scales, so the weights before packing are what comes out again.
    scale = (torch.rand(ROWS, COLUMNS // 32) * 0.01).to(torch.bfloat16)
    codes = torch.randint(-8, 8, (ROWS, COLUMNS))
    exact = codes * scale.float().repeat_interleave(32, -1)
    parts = {"proj.weight": pack_int4_in_uint8(exact, scale.float(), 32), "proj.weight_scale": scale}
    yield "int4_rows", parts, exact


def bitsandbytes() -> Iterator[Case]:
    from bitsandbytes import functional

    for name, kind, nested in (("nf4", "nf4", False), ("nf4_nested", "nf4", True), ("fp4", "fp4", False)):
        weight = normal(36, 128)  # the CPU kernel of 0.50.2 is wrong where a row is not a multiple of the block
        packed, state = functional.quantize_4bit(weight, blocksize=64, compress_statistics=nested, quant_type=kind)
        parts = {f"proj.weight.{key}": value for key, value in state.as_dict(packed=True).items()}
        yield name, {"proj.weight": packed, **parts}, functional.dequantize_4bit(packed, state)
    weight = normal(dtype=torch.float16)
    codes, absmax, _ = functional.int8_vectorwise_quant(weight)
    expected = functional.int8_vectorwise_dequant(codes, absmax)
    yield "int8", {"proj.weight": codes, "proj.SCB": absmax, "proj.weight_format": torch.tensor(0).byte()}, expected


def torchao() -> Iterator[Case]:
    from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict
    from torchao.quantization import (
        Float8WeightOnlyConfig,
        Int8WeightOnlyConfig,
        IntxWeightOnlyConfig,
        PerGroup,
        PerRow,
        quantize_,
    )

    settings = {
        "int8": Int8WeightOnlyConfig(version=2, granularity=PerRow()),
        "float8": Float8WeightOnlyConfig(version=2),
        "int4_groups": IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(32), version=2),
    }
    for name, config in settings.items():
        model = torch.nn.ModuleDict({"proj": torch.nn.Linear(COLUMNS, ROWS, bias=False, dtype=torch.bfloat16)})
        quantize_(model, config)
        tensors, _ = flatten_tensor_state_dict(model.state_dict())
        yield name, {key: value.contiguous() for key, value in tensors.items()}, model["proj"].weight.dequantize()


def gptqmodel() -> Iterator[Case]:
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module

    for name, bits, symmetric, act_order in (
        ("int4", 4, True, False),
        ("int4_zero_points", 4, False, True),
        ("int8", 8, True, False),
        ("int2", 2, False, False),
    ):
        linear = torch.nn.Linear(COLUMNS, ROWS, bias=False, dtype=torch.float32)
        limit, groups = 2**bits - 1, COLUMNS // 32
        grouped = linear.weight.detach().view(ROWS, groups, 32)
        low, high = grouped.amin(-1), grouped.amax(-1)
        scale = (high - low) / limit if not symmetric else 2 * grouped.abs().amax(-1) / limit
        zero = (-low / scale).round() if not symmetric else torch.full_like(scale, (limit + 1) // 2)
        g_idx = torch.arange(COLUMNS, dtype=torch.int32) // 32
        g_idx = g_idx[torch.randperm(COLUMNS)] if act_order else g_idx
        module = TorchLinear(bits, 32, symmetric, act_order, COLUMNS, ROWS, register_buffers=True)
        module.pack_block(linear, scale, zero, g_idx)
        module.post_init()
        expected = module.dequantize_weight().T.contiguous()
        convert_gptq_v2_to_v1_format_module(module, SimpleNamespace(bits=bits, pack_dtype=torch.int32))
        names = ("qweight", "qzeros", "scales", "g_idx")
        yield name, {f"proj.{key}": getattr(module, key).contiguous() for key in names}, expected


def autoawq() -> Iterator[Case]:
    from awq.modules.linear.gemm import WQLinear_GEMM
    from awq.utils.packing_utils import dequantize_gemm

    linear = torch.nn.Linear(COLUMNS, ROWS, bias=False, dtype=torch.float16)
    grouped = linear.weight.detach().view(ROWS, -1, 32)
    low, high = grouped.amin(-1), grouped.amax(-1)
    scale = ((high - low) / 15).T.contiguous()
    zero = (-low.T / scale).round().clamp(0, 15)
    module = WQLinear_GEMM.from_linear(linear, 4, 32, scales=scale, zeros=zero)
    expected = dequantize_gemm(module.qweight, module.qzeros, module.scales, 4, 32)
    parts = {f"proj.{key}": getattr(module, key) for key in ("qweight", "qzeros", "scales")}
    yield "int4", parts, expected.T.contiguous()


PRODUCERS = {
    "transformers": transformers,
    "compressed-tensors": compressed_tensors,
    "nvidia-modelopt": nvidia_modelopt,
    "bitsandbytes": bitsandbytes,
    "torchao": torchao,
    "gptqmodel": gptqmodel,
    "autoawq": autoawq,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("producer", choices=PRODUCERS)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parent)
    asked = parser.parse_args()
    versions = {name: importlib.metadata.version(name) for name in ("torch", asked.producer)}
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parts, expected in PRODUCERS[asked.producer]():
            path = asked.folder / f"{asked.producer}-{name.replace('_', '-')}.safetensors"
            tensors = {**parts, "expected": expected.contiguous()}
            save_file(
                {key: value.detach().clone() for key, value in tensors.items()},
                path,
                metadata={"made": json.dumps(versions)},
            )
            print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
