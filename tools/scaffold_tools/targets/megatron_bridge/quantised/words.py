"""What the templates of dequantising code are told: the functions, constants and rows that one checkpoint needs."""

from __future__ import annotations

from typing import Any

from scaffold_tools.blueprint.facts import Stored, StoredGroup
from scaffold_tools.targets.megatron_bridge.quantised.kernels import KernelRow, kernel

VALUES_AT_A_TIME = 1 << 19
"""Two megabytes in float32: small enough for the processor's caches, large enough to hide Python."""

TOLD: dict[str, str] = {
    "fp8-block": "FP8 with one scale per {block} block",
    "fp8-channel": "FP8 with one scale per row",
    "fp8-tensor": "FP8 with one scale per tensor",
    "mxfp8": "MXFP8",
    "mxfp4": "MXFP4",
    "nvfp4": "NVFP4",
    "int-packed": "packed {bits}-bit integers",
    "int8": "int8",
    "gptq": "{bits}-bit GPTQ",
    "awq": "{bits}-bit AWQ",
    "bnb-nf4": "NF4 of bitsandbytes",
    "bnb-fp4": "FP4 of bitsandbytes",
    "bnb-4bit": "4-bit codes of bitsandbytes",
    "bnb-int8": "int8 of bitsandbytes",
    "int4-modelopt": "4-bit integers of ModelOpt",
    "torchao": "torchao weights",
}
"""How a format is called in a sentence."""


def covered(group: StoredGroup) -> KernelRow | None:
    """The dequantiser of a group; None where there is none, or where it and the checkpoint differ in the tensors."""
    row = kernel(group.format, group.values)
    if row is None or (group.format, group.bits) in UNCOVERED_BITS:
        return None
    stored = {part for part, _ in group.parts}
    lacking = any(argument.required and not stored.intersection(argument.parts) for argument in row.arguments)
    unknown = stored.difference(part for argument in row.arguments for part in argument.parts)
    needs_block = "fp8_blocks" in row.fragments and group.block is None
    return None if lacking or unknown or needs_block else row


UNCOVERED_BITS = frozenset({("gptq", 3), ("int-packed", 3), ("int-packed", 5), ("int-packed", 6), ("int-packed", 7)})
"""Widths whose values cross the border of a word."""


def told(stored: Stored) -> str:
    """The formats in a sentence: `FP8 with one scale per 128x128 block`."""
    names = []
    for group in stored.groups:
        block = "x".join(map(str, group.block or ()))
        names.append(TOLD.get(group.format, group.format).format(block=block, bits=group.bits or "few"))
    return " and ".join(dict.fromkeys(names))


def words(stored: Stored) -> dict[str, Any]:
    """The context that `module.py.j2` and `script.py.j2` share.

    Every group must be covered.
    """
    rows = [(group, row) for group in stored.groups if (row := covered(group)) is not None]
    fragments = dict.fromkeys(name for _, row in rows for name in row.fragments)
    return {
        "told": told(stored),
        "fragments": [f"dequantize/kernels/{name}.py.j2" for name in fragments],
        "modules": sorted({name for _, row in rows for name in row.modules}),
        "constants": _constants(stored, frozenset(fragments)),
        "formats": [_format(group, row) for group, row in sorted(rows, key=lambda pair: -len(pair[0].parts))],
        "renamed": any(group.values_end != group.weight_end for group, _ in rows),
        "not_weights": list(stored.not_weights),
    }


def _constants(stored: Stored, fragments: frozenset[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if "fp8_blocks" in fragments:
        block = next(group.block for group in stored.groups if group.format == "fp8-block")
        found.append({"name": "BLOCK_SIZE", "value": block, "comment": "Rows and columns that share a scale."})
    if fragments & {"scaled", "e2m1", "fp8_blocks", "packed_integers", "gptq", "awq"}:
        comment = "Weights that are computed at a time, so that they stay in the processor's cache."
        found.append({"name": "VALUES_AT_A_TIME", "value": VALUES_AT_A_TIME, "comment": comment})
    if "gptq" in fragments:
        version = dict(stored.settings).get("checkpoint_format", "gptq")
        comment = "What the first version of the format has taken from each zero point; the second stores them whole."
        found.append({"name": "STORED_ZERO", "value": 0 if version == "gptq_v2" else 1, "comment": comment})
    return found


def _format(group: StoredGroup, row: KernelRow) -> dict[str, Any]:
    ends = dict(group.parts)
    taken = [(argument, next((part for part in argument.parts if part in ends), None)) for argument in row.arguments]
    named = {argument.name: (ends[part], argument.required) for argument, part in taken if part is not None}
    return {
        "comment": f"{told(Stored((group,)))}.",
        "values_end": group.values_end,
        "weight_end": group.weight_end,
        "parts": {name: end for name, (end, required) in named.items() if required},
        "optional": {name: end for name, (end, required) in named.items() if not required},
        "function": row.function,
    }
