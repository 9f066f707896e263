"""The table of a quantised checkpoint as an unquantised one would have it, and what was there instead."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from scaffold_tools.blueprint.facts import StoredGroup
from scaffold_tools.classify.quant_formats import FORMATS, FormatRow, applies
from scaffold_tools.classify.quant_shapes import Parts
from scaffold_tools.classify.quant_stored import PART, modules
from scaffold_tools.classify.signals import Pattern, group_tensors
from scaffold_tools.source.inventory import TensorInfo, TensorTable

NOT_WEIGHTS = re.compile(
    r"(?:^|[._])(?P<part>input_scale|input_global_scale|input_zero_point|activation_scale|output_scale|[qkv]_scale|kv_scale"
    r"|weight_format|k_bias|v_bias)$"
)
"""Scales of activations and of the KV cache; they have no counterpart in an unquantised checkpoint."""

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")


@dataclass(frozen=True)
class Logical:
    """A table of tensors as an unquantised checkpoint would have it."""

    tensors: tuple[TensorInfo, ...]
    groups: tuple[StoredGroup, ...]
    not_weights: tuple[str, ...]
    unmatched: tuple[str, ...]


def logical_tensors(table: TensorTable, bits: int | None = None) -> Logical:
    """Every quantised weight under the name and shape that it has once it is dequantised.

    Args:
        table: what the headers say.
        bits: width of packed integers, which headers leave open.
    """
    by_name = {info.name: info for info in table.tensors}
    used: set[str] = set()
    logical: dict[str, TensorInfo] = {}
    groups: list[StoredGroup] = []
    for group, row in _groups(group_tensors(table.tensors)):
        members: list[str] = []
        for info in table.tensors:
            if info.name in used or info.dtype not in row.dtypes or not info.name.endswith(group.values_end):
                continue
            stem = info.name.removesuffix(group.values_end)
            there = {part: by_name[stem + end] for part, end in group.parts if stem + end in by_name}
            if any(stem + end not in by_name for end in _required(group, row)):
                continue
            used |= {info.name, *(part.name for part in there.values())}
            name = stem + group.weight_end
            logical[name] = TensorInfo(name, _logical_shape(row, info, there, bits), "BF16", info.shard)
            members.append(name)
        if members:
            patterns = tuple(dict.fromkeys(_NUMBER.sub("*", name) for name in members))
            groups.append(replace(group, weights=patterns, tensors=len(members)))
    rest = [info for info in table.tensors if info.name not in used]
    ends = {match.group(): None for info in rest if (match := NOT_WEIGHTS.search(info.name))}
    if not groups:
        return Logical(table.tensors, (), tuple(ends), ())
    plain = [info for info in rest if not NOT_WEIGHTS.search(info.name)]
    kept = tuple(info for info in plain if not _orphan(info))
    tensors = (*logical.values(), *(info for info in kept if info.name not in logical))
    return Logical(tensors, tuple(groups), tuple(ends), tuple(info.name for info in plain if _orphan(info)))


_NUMBERS = frozenset({"BF16", "F16", "F32", "F64", "I64", "BOOL"})
"""What weights and buffers are stored in that nobody quantised."""
_SCALE_NAME = re.compile(
    r"[._](weight_scale(_inv|_2)?|weight_global_scale|weight_packed|weight_zero_point|qweight|qzeros)$"
)


def _orphan(info: TensorInfo) -> bool:
    return info.dtype not in _NUMBERS or _SCALE_NAME.search(info.name) is not None


def _groups(patterns: tuple[Pattern, ...]) -> list[tuple[StoredGroup, FormatRow]]:
    """One group for each format and set of name ends, those with most parts first: they tell most."""
    found: dict[tuple[str, str, tuple[tuple[str, str], ...]], tuple[StoredGroup, FormatRow]] = {}
    for parts in modules(patterns).values():
        row = next((row for row in FORMATS if applies(row, parts)), None)
        if row is None:
            continue
        ends = {part: _end(pattern.name, part) for part, pattern in parts.items()}
        others = tuple(
            (part, end) for part, end in ends.items() if part not in (row.packed, "bias") and not _extra(part)
        )
        values_end = ends[row.packed]
        group = StoredGroup(
            row.format,
            row.bits(parts),
            row.block(parts),
            row.packed,
            values_end,
            weight_end(values_end),
            others,
            (),
            0,
        )
        key = (row.format, values_end, tuple(sorted(others)))
        if key not in found or _larger(parts, row, found[key][0]):
            found[key] = (group, row)
    return sorted(found.values(), key=lambda pair: -len(pair[0].parts))


def _larger(parts: Parts, row: FormatRow, known: StoredGroup) -> bool:
    """A module whose shapes tell the block where the one seen first did not."""
    return known.block is None and row.block(parts) is not None


def _extra(part: str) -> bool:
    return NOT_WEIGHTS.search(part) is not None


def _required(group: StoredGroup, row: FormatRow) -> list[str]:
    """Ends of names without which a tensor is not of this group."""
    optional = {"weight_g_idx", "g_idx", "weight_shape", "bias"}
    return [end for part, end in group.parts if part in row.needs or part not in optional]


def _end(name: str, part: str) -> str:
    """What the part adds to the name of its module: `.weight`, `_blocks`; nothing for a bare name."""
    match = PART.fullmatch(name)
    return "" if match is None or match["part"] != part else name[len(match["module"]) :]


def weight_end(values_end: str) -> str:
    """What the weight's name ends in where the values' name ends in this."""
    return ".weight" if values_end.startswith(".") else ""


Shape = tuple[int, ...]


def _logical_shape(row: FormatRow, info: TensorInfo, parts: dict[str, TensorInfo], bits: int | None) -> Shape:
    """Shape of the weight; that of a flat tensor of bitsandbytes is in its data, not in a header: as it is stored."""
    shape = tuple(info.shape)
    form = SHAPES.get((row.format, row.packed))
    return shape if form is None else form(shape, {part: tuple(one.shape) for part, one in parts.items()}, bits)


def _halves(shape: Shape, _: dict[str, Shape], __: int | None) -> Shape:
    return (*shape[:-1], 2 * shape[-1])


def _words(shape: Shape, _: dict[str, Shape], bits: int | None) -> Shape:
    return (*shape[:-1], shape[-1] * 32 // (bits or 4))


def _inputs_packed(shape: Shape, parts: dict[str, Shape], _: int | None) -> Shape:
    bits = parts["qzeros"][-1] * 32 // max(1, parts["scales"][-1])
    return (shape[1], shape[0] * 32 // max(1, bits))


def _outputs_packed(shape: Shape, parts: dict[str, Shape], _: int | None) -> Shape:
    return (parts["scales"][-1], shape[0])


def _blocks(shape: Shape, _: dict[str, Shape], __: int | None) -> Shape:
    return (*shape[:-3], shape[-2] * 2 * shape[-1], shape[-3])


def _rows(shape: Shape, _: dict[str, Shape], __: int | None) -> Shape:
    return (*shape[:-2], 2 * shape[-2], shape[-1])


SHAPES = {
    ("nvfp4", "weight"): _halves,
    ("nvfp4", "weight_packed"): _halves,
    ("mxfp4", "weight_packed"): _halves,
    ("mxfp4", "weight"): _halves,
    ("mxfp4", "blocks"): _blocks,
    ("int-packed", "weight_packed"): _words,
    ("gptq", "qweight"): _inputs_packed,
    ("awq", "qweight"): _outputs_packed,
    ("int4-modelopt", "weight"): _rows,
}
"""(format, part of the values) -> shape of the weight; every other format has an element for each weight."""
