"""What the tensors themselves show: each quantised format by the names, types and shapes that it is stored in."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scaffold_tools.classify.quant_formats import FORMATS, FormatRow, applies
from scaffold_tools.classify.quant_shapes import Block, Parts
from scaffold_tools.classify.signals import Pattern
from scaffold_tools.classify.values import clean

# The part of a tensor's name that a quantiser added to (or puts in place of) `weight`; the longest alternative wins
# because the module name is matched lazily. `_` joins it where fused experts have no `.weight` of their own.
PART = re.compile(
    r"(?P<module>.*?)[._](?P<part>weight_scale_inv|weight_scale_2|weight_global_scale|weight_zero_point|weight_packed"
    r"|weight_shape|weight_g_idx|weight_scale|input_global_scale|input_scale|weight\.absmax|weight\.quant_map"
    r"|weight\.nested_absmax|weight\.nested_quant_map|weight\.quant_state\.[\w.]+|weight_format|SCB|_weight_qdata"
    r"|_weight_scale_and_zero|_weight_per_tensor_scale|_weight_scale|_weight_zero_point|_weight_act_pre_scale"
    r"|qweight|qzeros|scales|g_idx|blocks|scale_inv|k_scale|v_scale"
    r"|codebooks|codes|W_q|scale|weight)"
)
_MAX_NAME = 1024
_NOT_WEIGHTS = frozenset({"weight_format", "weight_shape", "g_idx", "weight_g_idx", "k_scale", "v_scale"})


@dataclass(frozen=True)
class Stored:
    """A format that some tensors are stored in."""

    format: str
    bits: int | None
    block: Block
    """Rows and columns that share a scale, or the one number of values in storage order that do; None for one scale a
    tensor or row, or where shapes leave it open."""
    scales: tuple[str, ...]
    """Name endings of the tensors that carry scales and zero points."""
    packed: str
    """Name ending of the tensor that carries the values."""
    values_per_element: int
    """Weights in one stored element."""
    modules: tuple[str, ...]
    detail: str


def modules(patterns: tuple[Pattern, ...]) -> dict[str, Parts]:
    """`module -> part -> pattern`; a tensor without a known part is its module's `weight` (fused experts).

    A module that is stored in one way in some layers and in another way in others is there once for each way.
    """
    named: dict[str, list[tuple[str, Pattern]]] = {}
    for pattern in patterns:
        match = PART.fullmatch(pattern.name) if len(pattern.name) <= _MAX_NAME else None
        module, part = (match["module"], match["part"]) if match else (pattern.name, "weight")
        named.setdefault(module, []).append((part, pattern))
    return {key: parts for module, members in named.items() for key, parts in _ways(module, members)}


def _ways(module: str, members: list[tuple[str, Pattern]]) -> list[tuple[str, Parts]]:
    if len({part for part, _ in members}) == len(members):
        return [(module, dict(members))]
    layers = sorted({index for _, pattern in members for index in pattern.layers})
    ways: dict[tuple[tuple[str, str], ...], tuple[str, Parts]] = {}
    for index in layers:
        there = [(part, pattern) for part, pattern in members if index in pattern.layers]
        way = tuple((part, pattern.first.dtype) for part, pattern in there)
        ways.setdefault(way, (module.replace("*", str(index), 1) if ways else module, dict(there)))
    return list(ways.values()) or [(module, dict(members))]


def stored_formats(patterns: tuple[Pattern, ...]) -> tuple[Stored, ...]:
    """The formats that tensors are stored in, most modules first; empty when none is quantised."""
    found: dict[tuple[str, str], list[tuple[str, Parts]]] = {}
    rows: dict[tuple[str, str], FormatRow] = {}
    for module, parts in modules(patterns).items():
        row = next((row for row in FORMATS if applies(row, parts)), None)
        if row is not None:
            found.setdefault((row.format, row.packed), []).append((module, parts))
            rows[row.format, row.packed] = row
    told = [_stored(rows[key], members) for key, members in found.items()]
    return tuple(sorted(told, key=lambda item: -len(item.modules)))


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
