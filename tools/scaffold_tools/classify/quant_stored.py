"""What the tensors themselves show: each quantised format by the names, types and shapes that it is stored in."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from scaffold_tools.classify.signals import Pattern
from scaffold_tools.classify.values import clean

# The part of a tensor's name that a quantiser added to (or puts in place of) `weight`; the longest alternative wins
# because the module name is matched lazily. `_` joins it where fused experts have no `.weight` of their own.
_PART = re.compile(
    r"(?P<module>.*?)[._](?P<part>weight_scale_inv|weight_scale_2|weight_global_scale|weight_zero_point|weight_packed"
    r"|weight_shape|weight_g_idx|weight_scale|input_global_scale|input_scale|weight\.absmax|weight\.quant_map"
    r"|weight\.nested_absmax|weight\.nested_quant_map|weight\.quant_state\.[\w.]+|weight_format|SCB|weight_qdata"
    r"|weight:qdata|weight:scale|qweight|qzeros|scales|g_idx|blocks|scale_inv|k_scale|v_scale"
    r"|codebooks|codes|W_q|scale|weight)"
)
FLOAT8 = frozenset({"F8_E4M3", "F8_E5M2", "F8_E4M3FN"})
_BLOCKS = (16, 32, 64, 128, 256, 512)
_MAX_NAME = 1024


@dataclass(frozen=True)
class Stored:
    """A format that some tensors are stored in."""

    format: str
    bits: int | None
    block: tuple[int, ...] | None
    """Rows and columns that share a scale; None for one scale a tensor, or where shapes leave it open."""
    scales: tuple[str, ...]
    """Name endings of the tensors that carry scales and zero points."""
    packed: str
    """Name ending of the tensor that carries the values."""
    values_per_element: int
    """Weights in one stored element."""
    modules: tuple[str, ...]
    detail: str


Parts = dict[str, Pattern]


def modules(patterns: tuple[Pattern, ...]) -> dict[str, Parts]:
    """`module -> part -> pattern`; a tensor without a known part is its module's `weight` (fused experts)."""
    found: dict[str, Parts] = {}
    for pattern in patterns:
        match = _PART.fullmatch(pattern.name) if len(pattern.name) <= _MAX_NAME else None
        module, part = (match["module"], match["part"]) if match else (pattern.name, "weight")
        found.setdefault(module, {})[part] = pattern
    return found


class FormatRow(NamedTuple):
    """How a format is stored."""

    format: str
    packed: str
    """The part that carries the values."""
    dtypes: frozenset[str]
    needs: tuple[str, ...]
    """Other parts that must be there."""
    also: Callable[[Parts], bool]
    bits: Callable[[Parts], int | None]
    block: Callable[[Parts], tuple[int, ...] | None]
    values_per_element: Callable[[Parts], int]
    reason: str


def _shape(parts: Parts, part: str) -> tuple[int, ...]:
    return parts[part].first.shape if part in parts else ()


def _dtype(parts: Parts, part: str) -> str:
    return parts[part].first.dtype if part in parts else ""


def _scale_part(parts: Parts) -> str:
    return next((part for part in ("weight_scale_inv", "weight_scale", "scale_inv", "scale") if part in parts), "")


def _scale_kind(parts: Parts) -> str:
    """`none`, `tensor`, `channel` or `block`, from the shape of the scales beside the shape of the values.

    Fused experts have one more axis in front; one scale an expert is still one scale a tensor.
    """
    part = _scale_part(parts)
    if not part:
        return "none"
    scale, weight = _shape(parts, part), _shape(parts, "weight")
    if len(scale) == len(weight) >= 2 and scale[-1] > 1:
        return "block"
    tail = scale[1:] if len(weight) == 3 and len(scale) >= 1 and scale[0] == weight[0] else scale
    if all(size == 1 for size in tail):
        return "block" if len(scale) == len(weight) >= 2 and _fits(weight[-2:], scale[-2:]) else "tensor"
    if len(weight) >= 2 and tail and tail[0] == weight[-2]:
        return "channel"
    return "block" if len(scale) == len(weight) >= 2 else "channel"


def _fits(weight: tuple[int, ...], scale: tuple[int, ...]) -> bool:
    """Whether a single block scale can be meant: the weight is no larger than one common block."""
    return scale == (1, 1) and max(weight) <= 128


def _block_shape(parts: Parts) -> tuple[int, ...] | None:
    """Rows and columns of a scale: the size for which `ceil(weight / size)` scales come out; None if several do."""
    part = _scale_part(parts)
    weight, scale = _shape(parts, "weight"), _shape(parts, part)
    if len(weight) < 2 or len(scale) != len(weight):
        return None
    sides = []
    for length, count in zip(weight[-2:], scale[-2:], strict=True):
        fitting = [size for size in (1, *_BLOCKS) if -(-length // size) == count]
        if len(fitting) != 1:
            return None
        sides.append(fitting[0])
    return tuple(sides)


def _group(values: str, scale: str, per_element: int) -> Callable[[Parts], tuple[int, ...] | None]:
    def block(parts: Parts) -> tuple[int, ...] | None:
        packed, scales = _shape(parts, values), _shape(parts, scale)
        if not packed or not scales or not scales[-1] or (packed[-1] * per_element) % scales[-1]:
            return None
        return (1, packed[-1] * per_element // scales[-1])

    return block


def _packed_bits(parts: Parts) -> int | None:
    """Bits of int32-packed values from the packed width and the true one (`weight_shape` is not in a header)."""
    packed, scales = _shape(parts, "weight_packed"), _shape(parts, "weight_scale")
    if len(packed) != 2 or len(scales) != 2 or not scales[1]:
        return None
    # The group is 32, 64 or 128 values in practice; 4 bits unless only 8 explains the scales.
    for bits in (4, 8):
        group = packed[1] * (32 // bits) / scales[1]
        if group in (32, 64, 128) or scales[1] == 1:
            return bits
    return None


def _packed_group(parts: Parts) -> tuple[int, ...] | None:
    bits = _packed_bits(parts)
    return (
        _group("weight_packed", "weight_scale", 32 // bits)(parts)
        if bits and _shape(parts, "weight_scale")[-1] > 1
        else None
    )


def _gptq_bits(parts: Parts) -> int | None:
    """`qweight` is [in*bits/32, out], `scales` [groups, out], `qzeros` [groups, out*bits/32]."""
    zeros, scales = _shape(parts, "qzeros"), _shape(parts, "scales")
    return zeros[1] * 32 // scales[1] if len(zeros) == len(scales) == 2 and scales[1] else None


def _awq_bits(parts: Parts) -> int | None:
    """`qweight` is [in, out*bits/32], `scales` [groups, out]."""
    packed, scales = _shape(parts, "qweight"), _shape(parts, "scales")
    return packed[1] * 32 // scales[1] if len(packed) == len(scales) == 2 and scales[1] else None


def _input_group(bits: Callable[[Parts], int | None], transposed: bool) -> Callable[[Parts], tuple[int, ...] | None]:
    def block(parts: Parts) -> tuple[int, ...] | None:
        packed, scales, width = _shape(parts, "qweight"), _shape(parts, "scales"), bits(parts)
        if not width or not packed or not scales or not scales[0]:
            return None
        inputs = packed[0] * 32 // width if transposed else packed[0]
        return (1, inputs // scales[0])

    return block


def _out_is_packed(parts: Parts) -> bool:
    packed, scales = _shape(parts, "qweight"), _shape(parts, "scales")
    return len(packed) == len(scales) == 2 and packed[1] < scales[1]


def _in_is_packed(parts: Parts) -> bool:
    packed, scales = _shape(parts, "qweight"), _shape(parts, "scales")
    return len(packed) == len(scales) == 2 and packed[1] == scales[1]


def _constant(value: int | None) -> Callable[[Parts], int | None]:
    return lambda parts: value


def _times(value: int) -> Callable[[Parts], int]:
    return lambda parts: value


def _always(parts: Parts) -> bool:
    return True


def _kind(kind: str) -> Callable[[Parts], bool]:
    return lambda parts: _scale_kind(parts) == kind


def _no_block(parts: Parts) -> tuple[int, ...] | None:
    return None


def _by_bits(bits: Callable[[Parts], int | None]) -> Callable[[Parts], int]:
    return lambda parts: 32 // (bits(parts) or 32)


_U8, _I8, _I32 = frozenset({"U8"}), frozenset({"I8"}), frozenset({"I32"})
_ANY_INT = frozenset({"U8", "I8", "I16", "I32"})
_E8M0 = frozenset({"U8", "F8_E8M0"})

# First row that applies to a module wins, so rows with more conditions come first.
FORMATS: tuple[FormatRow, ...] = (
    FormatRow(
        "nvfp4",
        "weight",
        _U8,
        ("weight_scale", "weight_scale_2"),
        lambda parts: _dtype(parts, "weight_scale") in FLOAT8,
        _constant(4),
        _group("weight", "weight_scale", 2),
        _times(2),
        "two 4-bit values a byte, FP8 scales of groups, one global scale",
    ),
    FormatRow(
        "nvfp4",
        "weight_packed",
        _U8,
        ("weight_scale", "weight_global_scale"),
        lambda parts: _dtype(parts, "weight_scale") in FLOAT8,
        _constant(4),
        _group("weight_packed", "weight_scale", 2),
        _times(2),
        "two 4-bit values a byte, FP8 scales of groups, one global scale",
    ),
    FormatRow(
        "mxfp4",
        "weight_packed",
        _U8,
        ("weight_scale",),
        lambda parts: _dtype(parts, "weight_scale") in _E8M0,
        _constant(4),
        _group("weight_packed", "weight_scale", 2),
        _times(2),
        "two 4-bit values a byte, power-of-two scales of groups",
    ),
    FormatRow(
        "mxfp4",
        "blocks",
        _U8,
        ("scales",),
        lambda parts: _dtype(parts, "scales") in _E8M0 and _shape(parts, "blocks")[:-1] == _shape(parts, "scales"),
        _constant(4),
        lambda parts: (1, 2 * _shape(parts, "blocks")[-1]),
        _times(2),
        "two 4-bit values a byte, the last axis one group, a power-of-two scale a group",
    ),
    FormatRow(
        "int-packed",
        "weight_packed",
        _I32,
        ("weight_scale",),
        _always,
        _packed_bits,
        _packed_group,
        _by_bits(_packed_bits),
        "whole numbers packed into int32, scales of groups",
    ),
    FormatRow(
        "gptq",
        "qweight",
        _I32,
        ("qzeros", "scales"),
        _in_is_packed,
        _gptq_bits,
        _input_group(_gptq_bits, transposed=True),
        _by_bits(_gptq_bits),
        "packed along the input axis, scales and zero points of groups",
    ),
    FormatRow(
        "awq",
        "qweight",
        _I32,
        ("qzeros", "scales"),
        _out_is_packed,
        _awq_bits,
        _input_group(_awq_bits, transposed=False),
        _by_bits(_awq_bits),
        "packed along the output axis, scales and zero points of groups",
    ),
    FormatRow(
        "bnb-4bit",
        "weight",
        _U8,
        ("weight.absmax", "weight.quant_map"),
        _always,
        _constant(4),
        _no_block,
        _times(2),
        "two 4-bit values a byte with a table of levels and absolute maxima",
    ),
    FormatRow(
        "bnb-int8", "weight", _I8, ("SCB",), _always, _constant(8), _no_block, _times(1), "int8 with row maxima"
    ),
    FormatRow(
        "mxfp8",
        "weight",
        FLOAT8,
        ("weight_scale",),
        lambda parts: _dtype(parts, "weight_scale") in _E8M0,
        _constant(8),
        _group("weight", "weight_scale", 1),
        _times(1),
        "FP8 with power-of-two scales of groups",
    ),
    FormatRow(
        "fp8-block",
        "weight",
        FLOAT8,
        (),
        _kind("block"),
        _constant(8),
        _block_shape,
        _times(1),
        "FP8, scales of blocks",
    ),
    FormatRow(
        "fp8-channel", "weight", FLOAT8, (), _kind("channel"), _constant(8), _no_block, _times(1), "FP8, a scale a row"
    ),
    FormatRow(
        "fp8-tensor",
        "weight",
        FLOAT8,
        (),
        _kind("tensor"),
        _constant(8),
        _no_block,
        _times(1),
        "FP8, one scale a tensor",
    ),
    FormatRow(
        "fp8-unscaled",
        "weight",
        FLOAT8,
        (),
        _kind("none"),
        _constant(8),
        _no_block,
        _times(1),
        "FP8 without any scale",
    ),
    FormatRow(
        "int8", "weight", _I8, ("weight_scale",), _always, _constant(8), _no_block, _times(1), "int8 with scales"
    ),
    FormatRow(
        "int4-modelopt",
        "weight",
        _U8,
        ("weight_scale",),
        _always,
        _constant(4),
        _group("weight", "weight_scale", 2),
        _times(2),
        "two whole numbers a byte, scales of groups",
    ),
    FormatRow("hqq", "W_q", _ANY_INT, (), _always, _constant(None), _no_block, _times(1), "HQQ's packed weight"),
    FormatRow(
        "aqlm", "codes", _ANY_INT, ("codebooks",), _always, _constant(None), _no_block, _times(1), "codes of books"
    ),
    FormatRow(
        "torchao",
        "weight_qdata",
        _ANY_INT | FLOAT8,
        (),
        _always,
        _constant(None),
        _no_block,
        _times(1),
        "torchao's data",
    ),
    FormatRow(
        "torchao",
        "weight:qdata",
        _ANY_INT | FLOAT8,
        (),
        _always,
        _constant(None),
        _no_block,
        _times(1),
        "torchao's data",
    ),
)
_NOT_WEIGHTS = frozenset({"weight_format", "weight_shape", "g_idx", "weight_g_idx", "k_scale", "v_scale"})


def stored_formats(patterns: tuple[Pattern, ...]) -> tuple[Stored, ...]:
    """The formats that tensors are stored in, most modules first; empty when none is quantised."""
    found: dict[tuple[str, str], list[tuple[str, Parts]]] = {}
    rows: dict[tuple[str, str], FormatRow] = {}
    for module, parts in modules(patterns).items():
        row = next((row for row in FORMATS if _applies(row, parts)), None)
        if row is not None:
            found.setdefault((row.format, row.packed), []).append((module, parts))
            rows[row.format, row.packed] = row
    told = [_stored(rows[key], members) for key, members in found.items()]
    return tuple(sorted(told, key=lambda item: -len(item.modules)))


def _applies(row: FormatRow, parts: Parts) -> bool:
    there = row.packed in parts and all(part in parts for part in row.needs)
    return there and _dtype(parts, row.packed) in row.dtypes and row.also(parts)


def _stored(row: FormatRow, members: list[tuple[str, Parts]]) -> Stored:
    blocks = {block for _, parts in members if (block := row.block(parts)) is not None}
    module, parts = members[0]
    others = sorted({part for _, item in members for part in item} - {row.packed, "bias"} - _NOT_WEIGHTS)
    example = parts[row.packed].first
    detail = f"{clean(module, 80)}.{row.packed} is {example.dtype} {list(example.shape)}"
    detail += "".join(
        f", {part} {parts[part].first.dtype} {list(parts[part].first.shape)}" for part in others if part in parts
    )
    return Stored(
        format=row.format,
        bits=row.bits(parts),
        block=blocks.pop() if len(blocks) == 1 else None,
        scales=tuple(others),
        packed=row.packed,
        values_per_element=row.values_per_element(parts),
        modules=tuple(module for module, _ in members),
        detail=f"{detail}: {row.reason}",
    )
