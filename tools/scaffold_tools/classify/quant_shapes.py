"""Measures of a quantised module: bits, groups and blocks from the shapes of its stored parts."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from scaffold_tools.classify.signals import Pattern

Parts = dict[str, Pattern]
"""The stored tensors of one module (or of one in all layers), by the part of the name that a quantiser added."""
Block = tuple[int, ...] | None

_BLOCKS = (16, 32, 64, 128, 256, 512)


def shape_of(parts: Parts, part: str) -> tuple[int, ...]:
    """Shape of one part; empty when it is not there."""
    return parts[part].first.shape if part in parts else ()


def dtype_of(parts: Parts, part: str) -> str:
    """Dtype of one part; empty when it is not there."""
    return parts[part].first.dtype if part in parts else ""


def _scale_part(parts: Parts) -> str:
    return next((part for part in ("weight_scale_inv", "weight_scale", "scale_inv", "scale") if part in parts), "")


def with_exponents(parts: Parts) -> bool:
    """The scales are powers of two by their dtype, one for each group of 32 values that are packed two a byte."""
    part = _scale_part(parts)
    weight, scale = shape_of(parts, "weight"), shape_of(parts, part)
    grouped = len(weight) == len(scale) >= 2 and weight[-1] * 2 == scale[-1] * 32
    return dtype_of(parts, part) == "F8_E8M0" and grouped


def exponent_group(parts: Parts) -> Block:
    """Groups of those scales."""
    return group("weight", _scale_part(parts), 2)(parts)


def _scale_kind(parts: Parts) -> str:
    """`none`, `tensor`, `channel` or `block`, from the shape of the scales beside the shape of the values.

    Fused experts have one more axis in front; one scale an expert is still one scale a tensor.
    """
    part = _scale_part(parts)
    if not part:
        return "none"
    scale, weight = shape_of(parts, part), shape_of(parts, "weight")
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


def block_shape(parts: Parts) -> Block:
    """Rows and columns of a scale: the size for which `ceil(weight / size)` scales come out; None if several do."""
    part = _scale_part(parts)
    weight, scale = shape_of(parts, "weight"), shape_of(parts, part)
    if len(weight) < 2 or len(scale) != len(weight):
        return None
    sides = []
    for length, count in zip(weight[-2:], scale[-2:], strict=True):
        fitting = [size for size in (1, *_BLOCKS) if -(-length // size) == count]
        if len(fitting) != 1:
            return None
        sides.append(fitting[0])
    return tuple(sides)


def group(values: str, scale: str, per_element: int) -> Callable[[Parts], Block]:
    """Groups along a row: as many values as fall on one scale."""

    def block(parts: Parts) -> Block:
        packed, scales = shape_of(parts, values), shape_of(parts, scale)
        if not packed or not scales or not scales[-1] or (packed[-1] * per_element) % scales[-1]:
            return None
        return (1, packed[-1] * per_element // scales[-1])

    return block


def packed_bits(parts: Parts) -> int | None:
    """Bits of int32-packed values from the packed width and the true one (`weight_shape` is not in a header)."""
    packed, scales = shape_of(parts, "weight_packed"), shape_of(parts, "weight_scale")
    if len(packed) != 2 or len(scales) != 2 or not scales[1]:
        return None
    # The group is 32, 64 or 128 values in practice; 4 bits unless only 8 explains the scales.
    for bits in (4, 8):
        group = packed[1] * (32 // bits) / scales[1]
        if group in (32, 64, 128) or scales[1] == 1:
            return bits
    return None


def packed_group(parts: Parts) -> Block:
    """Group of int32-packed values; None for one scale a row."""
    bits = packed_bits(parts)
    return (
        group("weight_packed", "weight_scale", 32 // bits)(parts)
        if bits and shape_of(parts, "weight_scale")[-1] > 1
        else None
    )


def gptq_bits(parts: Parts) -> int | None:
    """`qweight` is [in*bits/32, out], `scales` [groups, out], `qzeros` [groups, out*bits/32]."""
    zeros, scales = shape_of(parts, "qzeros"), shape_of(parts, "scales")
    return zeros[1] * 32 // scales[1] if len(zeros) == len(scales) == 2 and scales[1] else None


def awq_bits(parts: Parts) -> int | None:
    """`qweight` is [in, out*bits/32], `scales` [groups, out]."""
    packed, scales = shape_of(parts, "qweight"), shape_of(parts, "scales")
    return packed[1] * 32 // scales[1] if len(packed) == len(scales) == 2 and scales[1] else None


def input_group(bits: Callable[[Parts], int | None], transposed: bool) -> Callable[[Parts], Block]:
    """Values along the input axis that share a scale."""

    def block(parts: Parts) -> Block:
        packed, scales, width = shape_of(parts, "qweight"), shape_of(parts, "scales"), bits(parts)
        if not width or not packed or not scales or not scales[0]:
            return None
        inputs = packed[0] * 32 // width if transposed else packed[0]
        return (1, inputs // scales[0])

    return block


def out_is_packed(parts: Parts) -> bool:
    """The output axis is narrower than that of the scales."""
    packed, scales = shape_of(parts, "qweight"), shape_of(parts, "scales")
    return len(packed) == len(scales) == 2 and packed[1] < scales[1]


def in_is_packed(parts: Parts) -> bool:
    """The output axis is as wide as that of the scales."""
    packed, scales = shape_of(parts, "qweight"), shape_of(parts, "scales")
    return len(packed) == len(scales) == 2 and packed[1] == scales[1]


def absmax_block(parts: Parts) -> Block:
    """bitsandbytes stores a weight flat, and one maximum for each run of values."""
    runs = shape_of(parts, "weight.absmax")
    values = 2 * prod(shape_of(parts, "weight"))
    return (values // runs[0],) if len(runs) == 1 and runs[0] and values % runs[0] == 0 else None


def constant(value: int | None) -> Callable[[Parts], int | None]:
    """Whatever the parts are."""
    return lambda parts: value


def times(value: int) -> Callable[[Parts], int]:
    """Whatever the parts are."""
    return lambda parts: value


def always(parts: Parts) -> bool:
    """No further condition."""
    return True


def scaled_by(kind: str) -> Callable[[Parts], bool]:
    """The scales are of this kind: none, tensor, channel, block."""
    return lambda parts: _scale_kind(parts) == kind


def scales_by_row(parts: Parts) -> bool:
    """torchao's scales are of the tensor, or their first axis is that of the values: not turned round for a kernel."""
    values, scale = shape_of(parts, "_weight_qdata"), shape_of(parts, "_weight_scale")
    return len(scale) <= len(values) and (all(size == 1 for size in scale) or scale[0] == values[0])


def no_block(parts: Parts) -> Block:
    """One scale a tensor or row, or none that shapes tell."""
    return None


def times_in_int32(bits: Callable[[Parts], int | None]) -> Callable[[Parts], int]:
    """How many values of so many bits one int32 holds."""
    return lambda parts: 32 // (bits(parts) or 32)
