"""The table of quantised storage formats: a new format is a new row; the first row that applies to a module wins."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from scaffold_tools.classify.quant_shapes import (
    Block,
    Parts,
    absmax_block,
    always,
    awq_bits,
    block_shape,
    constant,
    dtype_of,
    exponent_group,
    gptq_bits,
    group,
    in_is_packed,
    input_group,
    no_block,
    out_is_packed,
    packed_bits,
    packed_group,
    scaled_by,
    scales_by_row,
    shape_of,
    times,
    times_in_int32,
    with_exponents,
)

FLOAT8 = frozenset({"F8_E4M3", "F8_E5M2", "F8_E4M3FN"})
_U8, _I8, _I32 = frozenset({"U8"}), frozenset({"I8"}), frozenset({"I32"})
_QUANT_STATE = "weight.quant_state.bitsandbytes__"
_ANY_INT = frozenset({"U8", "I8", "I16", "I32"})
_E8M0 = frozenset({"U8", "F8_E8M0"})


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
    block: Callable[[Parts], Block]
    values_per_element: Callable[[Parts], int]
    reason: str


def applies(row: FormatRow, parts: Parts) -> bool:
    """Whether a module is stored in the format of this row."""
    there = row.packed in parts and all(part in parts for part in row.needs)
    return there and dtype_of(parts, row.packed) in row.dtypes and row.also(parts)


# First row that applies to a module wins, so rows with more conditions come first.
FORMATS: tuple[FormatRow, ...] = (
    FormatRow(
        "nvfp4",
        "weight",
        _U8,
        ("weight_scale", "weight_scale_2"),
        lambda parts: dtype_of(parts, "weight_scale") in FLOAT8,
        constant(4),
        group("weight", "weight_scale", 2),
        times(2),
        "two 4-bit values a byte, FP8 scales of groups, one global scale",
    ),
    FormatRow(
        "nvfp4",
        "weight_packed",
        _U8,
        ("weight_scale", "weight_global_scale"),
        lambda parts: dtype_of(parts, "weight_scale") in FLOAT8,
        constant(4),
        group("weight_packed", "weight_scale", 2),
        times(2),
        "two 4-bit values a byte, FP8 scales of groups, one global scale",
    ),
    FormatRow(
        "mxfp4",
        "weight_packed",
        _U8,
        ("weight_scale",),
        lambda parts: dtype_of(parts, "weight_scale") in _E8M0,
        constant(4),
        group("weight_packed", "weight_scale", 2),
        times(2),
        "two 4-bit values a byte, power-of-two scales of groups",
    ),
    FormatRow(
        "mxfp4",
        "weight",
        _I8 | _U8,
        (),
        with_exponents,
        constant(4),
        exponent_group,
        times(2),
        "two 4-bit values a byte, power-of-two scales of groups by their dtype",
    ),
    FormatRow(
        "mxfp4",
        "blocks",
        _U8,
        ("scales",),
        lambda parts: (
            dtype_of(parts, "scales") in _E8M0 and shape_of(parts, "blocks")[:-1] == shape_of(parts, "scales")
        ),
        constant(4),
        lambda parts: (1, 2 * shape_of(parts, "blocks")[-1]),
        times(2),
        "two 4-bit values a byte, the last axis one group, a power-of-two scale a group",
    ),
    FormatRow(
        "int-packed",
        "weight_packed",
        _I32,
        ("weight_scale",),
        always,
        packed_bits,
        packed_group,
        times_in_int32(packed_bits),
        "whole numbers packed into int32, scales of groups",
    ),
    FormatRow(
        "gptq",
        "qweight",
        _I32,
        ("qzeros", "scales"),
        in_is_packed,
        gptq_bits,
        input_group(gptq_bits, transposed=True),
        times_in_int32(gptq_bits),
        "packed along the input axis, scales and zero points of groups",
    ),
    FormatRow(
        "awq",
        "qweight",
        _I32,
        ("qzeros", "scales"),
        out_is_packed,
        awq_bits,
        input_group(awq_bits, transposed=False),
        times_in_int32(awq_bits),
        "packed along the output axis, scales and zero points of groups",
    ),
    FormatRow(
        "bnb-nf4",
        "weight",
        _U8,
        ("weight.absmax", "weight.quant_map", f"{_QUANT_STATE}nf4"),
        always,
        constant(4),
        absmax_block,
        times(2),
        "two 4-bit values a byte, levels of a normal distribution, absolute maxima",
    ),
    FormatRow(
        "bnb-fp4",
        "weight",
        _U8,
        ("weight.absmax", "weight.quant_map", f"{_QUANT_STATE}fp4"),
        always,
        constant(4),
        absmax_block,
        times(2),
        "two 4-bit values a byte, levels of a 4-bit float, absolute maxima",
    ),
    FormatRow(
        "bnb-4bit",
        "weight",
        _U8,
        ("weight.absmax", "weight.quant_map"),
        always,
        constant(4),
        absmax_block,
        times(2),
        "two 4-bit values a byte, a table of levels, absolute maxima",
    ),
    FormatRow("bnb-int8", "weight", _I8, ("SCB",), always, constant(8), no_block, times(1), "int8 with row maxima"),
    FormatRow(
        "mxfp8",
        "weight",
        FLOAT8,
        ("weight_scale",),
        lambda parts: dtype_of(parts, "weight_scale") in _E8M0,
        constant(8),
        group("weight", "weight_scale", 1),
        times(1),
        "FP8 with power-of-two scales of groups",
    ),
    FormatRow(
        "fp8-block",
        "weight",
        FLOAT8,
        (),
        scaled_by("block"),
        constant(8),
        block_shape,
        times(1),
        "FP8, scales of blocks",
    ),
    FormatRow(
        "fp8-channel",
        "weight",
        FLOAT8,
        (),
        scaled_by("channel"),
        constant(8),
        no_block,
        times(1),
        "FP8, a scale a row",
    ),
    FormatRow(
        "fp8-tensor",
        "weight",
        FLOAT8,
        (),
        scaled_by("tensor"),
        constant(8),
        no_block,
        times(1),
        "FP8, one scale a tensor",
    ),
    FormatRow(
        "fp8-unscaled",
        "weight",
        FLOAT8,
        (),
        scaled_by("none"),
        constant(8),
        no_block,
        times(1),
        "FP8 without any scale",
    ),
    FormatRow("int8", "weight", _I8, ("weight_scale",), always, constant(8), no_block, times(1), "int8 with scales"),
    FormatRow(
        "int4-modelopt",
        "weight",
        _U8,
        ("weight_scale",),
        always,
        constant(4),
        group("weight", "weight_scale", 1),
        times(2),
        "two rows of whole numbers in one of bytes (modelopt/torch/export/quant_utils.py), scales of groups",
    ),
    FormatRow("hqq", "W_q", _ANY_INT, (), always, constant(None), no_block, times(1), "HQQ's packed weight"),
    FormatRow("aqlm", "codes", _ANY_INT, ("codebooks",), always, constant(None), no_block, times(1), "codes of books"),
    FormatRow(
        "torchao",
        "_weight_qdata",
        _I8 | FLOAT8,
        ("_weight_scale",),
        scales_by_row,
        constant(None),
        no_block,
        times(1),
        "torchao's data, an element a weight, scales of tensors, rows or groups",
    ),
    FormatRow(
        "torchao-packed",
        "_weight_qdata",
        _ANY_INT | FLOAT8,
        (),
        always,
        constant(None),
        no_block,
        times(1),
        "torchao's data, packed for a kernel",
    ),
)
