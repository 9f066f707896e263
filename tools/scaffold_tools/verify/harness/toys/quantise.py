"""A saved toy in a quantised format: codes and scales are chosen here, so no decoding tells the weights.

Each packer returns the stored parts and the exact product of levels and scales. Nothing is unpacked here, and nothing
of the code under test is used; tests hold the packers to the layouts of the libraries.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

Parts = dict[str, torch.Tensor]
Packed = tuple[Parts, torch.Tensor] | None
"""(part -> tensor, the weights in float32); None where the shape does not suit the format."""

E2M1 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0])
_NF4_BELOW = (-1.0, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0.0)
_NF4_ABOVE = (0.0796, 0.1609, 0.2461, 0.3379, 0.4407, 0.5626, 0.723, 1.0)
NF4 = torch.tensor([*_NF4_BELOW, *_NF4_ABOVE])
GROUP = 32
"""Largest group of a toy; its rows are short, and the group is the largest power of two that divides them."""


@dataclass
class Quantised:
    """A quantised copy of a toy."""

    folder: Path
    stored: Parts
    """Every tensor as it lies on disk."""
    exact: Parts
    """Every tensor of the unquantised checkpoint, the quantised ones as bfloat16 has them."""
    names: list[str] = field(default_factory=list)
    """Names of the weights that are quantised."""
    raw_std: float = 0.0
    """Standard deviation of the stored numbers, were they taken for weights."""


def quantise_folder(source: Path, target: Path, saved: Parts, stored: dict[str, Any]) -> Quantised:
    """Write the quantised copy of a saved toy.

    Args:
        source: the saved toy.
        target: the folder to write.
        saved: its tensors.
        stored: `groups` as the blueprint has them, and `quantization_config`.
    """
    made = Quantised(target, dict(saved), dict(saved))
    spread: list[torch.Tensor] = []
    for group in stored["groups"]:
        pack = PACKERS[group["format"]]
        patterns = [_matcher(pattern) for pattern in group["weights"]]
        for name in [name for name in made.stored if any(one.search(name) for one in patterns)]:
            weight = saved.get(name)
            packed = None if weight is None or weight.dim() < 2 else pack(weight.float(), group, stored)
            if packed is None or weight is None:
                continue
            parts, exact = packed
            stem = name.removesuffix(group["weight_end"])
            del made.stored[name]
            ends = {**dict(group["parts"]), "values": group["values_end"]}
            kept = {part: tensor for part, tensor in parts.items() if part in ends}
            made.stored |= {stem + ends[part]: tensor.contiguous().clone() for part, tensor in kept.items()}
            made.exact[name] = exact.to(torch.bfloat16)
            made.names.append(name)
            spread.append(parts["values"].float().flatten())
    made.raw_std = float(torch.cat(spread).std()) if spread else 0.0
    _write(source, made, stored["quantization_config"])
    return made


def _matcher(pattern: str) -> re.Pattern[str]:
    """A name pattern, with or without a prefix that a checkpoint has more or less than its class."""
    body = r"\d+".join(re.escape(part) for part in pattern.split("*"))
    short = r"\d+".join(re.escape(part) for part in pattern.partition(".")[2].split("*"))
    return re.compile(rf"(?:^|\.){body}$" + (rf"|^{short}$" if short else ""))


def _write(source: Path, made: Quantised, settings: dict[str, Any] | None) -> None:
    from safetensors.torch import save_file

    shutil.rmtree(made.folder, ignore_errors=True)
    shutil.copytree(source, made.folder, ignore=shutil.ignore_patterns("*.safetensors", "*.index.json"))
    save_file(made.stored, made.folder / "model.safetensors", metadata={"format": "pt"})
    path = made.folder / "config.json"
    config = json.loads(path.read_text())
    if settings is not None:
        config["quantization_config"] = settings
    path.write_text(json.dumps(config, indent=2))


def _size(length: int, most: int = GROUP) -> int:
    """The largest power of two that divides a length, up to `most`."""
    return math.gcd(length, most)


def _grouped(weight: torch.Tensor, size: int) -> torch.Tensor:
    return weight.unflatten(-1, (-1, size))


def _nearest(values: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    return (values.unsqueeze(-1) - levels).abs().argmin(-1)


def _fp8(values: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    codes = (values / scale).clamp(-448, 448).to(torch.float8_e4m3fn)
    return codes, codes.float() * scale


def fp8_blocks(weight: torch.Tensor, group: dict[str, Any], _: dict[str, Any]) -> Packed:
    """A scale a block; the last blocks are as small as the shape makes them."""
    tall, wide = group["block"]
    rows, columns = weight.shape[-2:]
    grid = torch.zeros(*weight.shape[:-2], -(-rows // tall), -(-columns // wide))
    full = torch.empty_like(weight)
    for i in range(grid.shape[-2]):
        for j in range(grid.shape[-1]):
            block = (..., slice(i * tall, (i + 1) * tall), slice(j * wide, (j + 1) * wide))
            grid[..., i, j] = weight[block].abs().amax((-1, -2)).clamp(min=1e-12) / 448
            full[block] = grid[..., i, j, None, None]
    codes, exact = _fp8(weight, full)
    return _named(group, values=codes, scale=grid), exact


def fp8_rows(weight: torch.Tensor, group: dict[str, Any], _: dict[str, Any]) -> Packed:
    """A scale a row."""
    scale = weight.abs().amax(-1, keepdim=True).clamp(min=1e-12) / 448
    codes, exact = _fp8(weight, scale)
    return _named(group, values=codes, scale=scale), exact


def fp8_tensor(weight: torch.Tensor, group: dict[str, Any], _: dict[str, Any]) -> Packed:
    """One scale, or one an expert."""
    scale = weight.abs().amax((-1, -2), keepdim=True).clamp(min=1e-12) / 448
    codes, exact = _fp8(weight, scale)
    return _named(group, values=codes, scale=scale.flatten() if weight.dim() > 2 else scale.view(())), exact


def mxfp8(weight: torch.Tensor, group: dict[str, Any], _: dict[str, Any]) -> Packed:
    """A power of two a group."""
    values = _grouped(weight, _size(weight.shape[-1]))
    power = torch.ceil(torch.log2(values.abs().amax(-1).clamp(min=1e-12) / 448))
    codes, exact = _fp8(values, torch.exp2(power).unsqueeze(-1))
    scale = (power + 127).to(torch.uint8)
    return _named(group, values=codes.flatten(-2), scale=scale), exact.flatten(-2)


def _pairs(codes: torch.Tensor) -> torch.Tensor:
    """Two codes a byte, the first in the low half."""
    return (codes[..., 0::2] | codes[..., 1::2] << 4).to(torch.uint8)


def mxfp4(weight: torch.Tensor, group: dict[str, Any], _: dict[str, Any]) -> Packed:
    """FP4 with a power of two a group; transformers' blocks have inputs and outputs the other way round."""
    turned = group["values"] == "blocks"
    weight = weight.transpose(-1, -2) if turned else weight
    size = _size(weight.shape[-1])
    if size < 2:
        return None
    values = _grouped(weight, size)
    power = torch.ceil(torch.log2(values.abs().amax(-1).clamp(min=1e-12) / 6))
    codes = _nearest(values / torch.exp2(power).unsqueeze(-1), E2M1)
    exact = (E2M1[codes] * torch.exp2(power).unsqueeze(-1)).flatten(-2)
    scale = (power + 127).to(torch.uint8)
    if turned:
        return {"values": _pairs(codes), "scales": scale}, exact.transpose(-1, -2).contiguous()
    if group["values"] == "weight":
        scale = scale.view(torch.float8_e8m0fnu)
    return _named(group, values=_pairs(codes.flatten(-2)), scale=scale), exact


def nvfp4(weight: torch.Tensor, group: dict[str, Any], _: dict[str, Any]) -> Packed:
    """FP4 with an FP8 scale a group and one for the tensor, as a factor or as a divisor."""
    size = _size(weight.shape[-1], 16)
    if size < 2 or weight.dim() != 2:
        return None
    values = _grouped(weight, size)
    factor = weight.abs().amax().clamp(min=1e-12) / (6 * 448)
    scale = (values.abs().amax(-1).clamp(min=1e-12) / 6 / factor).clamp(2**-9, 448).to(torch.float8_e4m3fn)
    divided = group["values"] == "weight_packed"
    wide = scale.float() / (1 / factor) if divided else scale.float() * factor
    codes = _nearest(values / wide.unsqueeze(-1), E2M1)
    parts = {"values": _pairs(codes.flatten(-2)), "weight_scale": scale}
    parts |= {"weight_global_scale": (1 / factor).view(1)} if divided else {"weight_scale_2": factor.view(())}
    return parts, (E2M1[codes] * wide.unsqueeze(-1)).flatten(-2)


def _words(codes: torch.Tensor, bits: int, order: tuple[int, ...] | None = None) -> torch.Tensor:
    """Codes packed into int32 along the last axis, padded with zeros; `order` says which value each place holds."""
    count = 32 // bits
    padded = torch.nn.functional.pad(codes.to(torch.int64), (0, -codes.shape[-1] % count)).unflatten(-1, (-1, count))
    placed = padded if order is None else padded[..., list(order)]
    packed = (placed << (torch.arange(count) * bits)).sum(-1)
    return torch.where(packed >= 2**31, packed - 2**32, packed).to(torch.int32)


def packed_integers(weight: torch.Tensor, group: dict[str, Any], _: dict[str, Any]) -> Packed:
    """Integers in int32 words along the rows, with or without zero points."""
    if weight.dim() != 2:
        return None
    bits = group["bits"] or 4
    half = 2 ** (bits - 1)
    values = _grouped(weight, _size(weight.shape[-1]) if group["block"] else weight.shape[-1])
    scale = (values.abs().amax(-1).clamp(min=1e-12) / (half - 1)).to(torch.bfloat16)
    wide = scale.float().unsqueeze(-1)
    shift = torch.zeros_like(scale)
    if "weight_zero_point" in dict(group["parts"]):
        shift = torch.arange(scale.numel()).view(scale.shape).remainder(3) - 1.0
    signed = (values / wide + shift.unsqueeze(-1)).round().clamp(-half, half - 1)
    exact = ((signed - shift.unsqueeze(-1)) * wide).flatten(-2)
    parts = {"values": _words(signed.flatten(-2) + half, bits), "weight_scale": scale}
    parts["weight_shape"] = torch.tensor(list(weight.shape))
    parts["weight_zero_point"] = _words((shift + half).T, bits).T
    parts["weight_g_idx"] = torch.full((weight.shape[1],), -1, dtype=torch.int32)
    return parts, exact


def _affine(weight: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes [out, groups, size], zero points and scales [out, groups], and what they stand for."""
    values = _grouped(weight, _size(weight.shape[-1]))
    low, high = values.amin(-1), values.amax(-1)
    scale = ((high - low).clamp(min=1e-12) / (2**bits - 1)).to(torch.float16)
    wide = scale.float().clamp(min=6e-8)
    zero = (-low / wide).round().clamp(1, 2**bits - 1)
    codes = (values / wide.unsqueeze(-1) + zero.unsqueeze(-1)).round().clamp(0, 2**bits - 1)
    return codes, zero, scale, ((codes - zero.unsqueeze(-1)) * scale.float().unsqueeze(-1)).flatten(-2)


def gptq(weight: torch.Tensor, group: dict[str, Any], stored: dict[str, Any]) -> Packed:
    """Packed along the inputs; the first version of the format stores zero points less one."""
    bits = group["bits"] or 4
    if weight.dim() != 2 or weight.shape[0] % (32 // bits) or weight.shape[1] % (32 // bits):
        return None
    codes, zero, scale, exact = _affine(weight, bits)
    less = 0 if dict(stored["settings"]).get("checkpoint_format") == "gptq_v2" else 1
    index = torch.arange(weight.shape[1], dtype=torch.int32) // codes.shape[-1]
    parts = {"values": _words(codes.flatten(-2), bits).T, "qzeros": _words((zero - less).T, bits)}
    return {**parts, "scales": scale.T, "g_idx": index}, exact


def awq(weight: torch.Tensor, group: dict[str, Any], _: dict[str, Any]) -> Packed:
    """Packed along the outputs, in the order of AWQ's kernels."""
    if weight.dim() != 2 or weight.shape[0] % 8:
        return None
    order = (0, 2, 4, 6, 1, 3, 5, 7)
    codes, zero, scale, exact = _affine(weight, 4)
    parts = {"values": _words(codes.flatten(-2).T, 4, order), "qzeros": _words(zero.T, 4, order), "scales": scale.T}
    return parts, exact


def bitsandbytes4(weight: torch.Tensor, group: dict[str, Any], _: dict[str, Any]) -> Packed:
    """Flat runs of 64 codes, the first of two in the high half, a table of levels, the shape in JSON."""
    if weight.numel() % 2:
        return None
    flat = torch.nn.functional.pad(weight.flatten(), (0, -weight.numel() % 64)).view(-1, 64)
    absmax = flat.abs().amax(-1)
    levels = NF4 if group["format"] != "bnb-fp4" else E2M1 / 6
    codes = _nearest(flat / absmax.clamp(min=1e-12).unsqueeze(-1), levels)
    exact = (levels[codes] * absmax.unsqueeze(-1)).flatten()[: weight.numel()].view(weight.shape)
    codes = codes.flatten()[: weight.numel()]
    told = {"quant_type": group["format"][4:], "blocksize": 64, "dtype": "bfloat16", "shape": list(weight.shape)}
    state = next((part for part, _ in group["parts"] if part.startswith("weight.quant_state")), "")
    return {
        "values": (codes[0::2] << 4 | codes[1::2]).to(torch.uint8).unsqueeze(-1),
        "weight.absmax": absmax,
        "weight.quant_map": levels,
        state: torch.tensor(list(json.dumps(told).encode()), dtype=torch.uint8),
    }, exact


def int8_rows(weight: torch.Tensor, group: dict[str, Any], _: dict[str, Any]) -> Packed:
    """Whole numbers with a scale a row; bitsandbytes stores the row's maximum instead of its 127th part."""
    largest = weight.abs().amax(-1, keepdim=True).clamp(min=1e-12)
    if group["format"] == "bnb-int8":
        scale = largest / 127
        codes = (weight / scale).round().clamp(-127, 127)
        return {"values": codes.to(torch.int8), "SCB": largest.squeeze(-1)}, codes * scale
    scale = (largest / 127).to(torch.bfloat16)
    codes = (weight / scale.float()).round().clamp(-127, 127)
    parts = _named(group, values=codes.to(torch.int8), scale=scale)
    zeros = torch.zeros(scale.shape, dtype=torch.int8)
    return {**parts, "weight_zero_point": zeros, "_weight_zero_point": zeros}, codes * scale.float()


def int4_rows(weight: torch.Tensor, group: dict[str, Any], _: dict[str, Any]) -> Packed:
    """Two rows of whole numbers in one of bytes."""
    if weight.shape[-2] % 2:
        return None
    values = _grouped(weight, _size(weight.shape[-1]))
    scale = (values.abs().amax(-1).clamp(min=1e-12) / 7).to(torch.bfloat16)
    codes = (values / scale.float().unsqueeze(-1)).round().clamp(-8, 7)
    exact = (codes * scale.float().unsqueeze(-1)).flatten(-2)
    half = codes.flatten(-2).to(torch.int16) & 0xF
    return _named(group, values=(half[..., 0::2, :] | half[..., 1::2, :] << 4).to(torch.uint8), scale=scale), exact


def _named(group: dict[str, Any], *, values: torch.Tensor, scale: torch.Tensor) -> Parts:
    """The scale under the name that this checkpoint has for it: the first part of the group."""
    return {"values": values, group["parts"][0][0]: scale}


PACKERS: dict[str, Callable[[torch.Tensor, dict[str, Any], dict[str, Any]], Packed]] = {
    "fp8-block": fp8_blocks,
    "fp8-channel": fp8_rows,
    "fp8-tensor": fp8_tensor,
    "mxfp8": mxfp8,
    "mxfp4": mxfp4,
    "nvfp4": nvfp4,
    "int-packed": packed_integers,
    "gptq": gptq,
    "awq": awq,
    "bnb-nf4": bitsandbytes4,
    "bnb-fp4": bitsandbytes4,
    "bnb-4bit": bitsandbytes4,
    "bnb-int8": int8_rows,
    "int8": int8_rows,
    "int4-modelopt": int4_rows,
    "torchao": int8_rows,
}
