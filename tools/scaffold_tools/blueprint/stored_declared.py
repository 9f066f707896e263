"""How a declared format names its tensors, and which weights it is declared for, where no header was read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

from scaffold_tools.blueprint.facts import StoredGroup, TensorRole
from scaffold_tools.blueprint.roles import pattern_of
from scaffold_tools.blueprint.stored_tensors import weight_end
from scaffold_tools.source.inventory import TensorInfo


class DeclaredRow(NamedTuple):
    """How a declared format names its tensors, where no header was read."""

    format: str
    methods: frozenset[str]
    """`quant_method`; any when empty."""
    values: tuple[str, str]
    """(part, end of the name)."""
    parts: tuple[tuple[str, str], ...]


def _dotted(*parts: str) -> tuple[tuple[str, str], ...]:
    return tuple((part, f".{part}") for part in parts)


_WEIGHT = ("weight", ".weight")
_COMPRESSED = frozenset({"compressed-tensors", "compressed_tensors"})
_MODELOPT = frozenset({"modelopt", "modelopt_fp4", "modelopt_fp8", "nvfp4"})

DECLARED: tuple[DeclaredRow, ...] = (
    DeclaredRow("fp8-block", frozenset({"fp8", "finegrained_fp8"}), _WEIGHT, _dotted("weight_scale_inv")),
    DeclaredRow("fp8-block", frozenset(), _WEIGHT, _dotted("weight_scale")),
    DeclaredRow("fp8-tensor", frozenset(), _WEIGHT, _dotted("weight_scale")),
    DeclaredRow("fp8-channel", frozenset(), _WEIGHT, _dotted("weight_scale")),
    DeclaredRow("mxfp4", frozenset({"mxfp4"}), ("blocks", "_blocks"), (("scales", "_scales"),)),
    DeclaredRow("mxfp4", frozenset(), ("weight_packed", ".weight_packed"), _dotted("weight_scale")),
    DeclaredRow("mxfp8", frozenset(), _WEIGHT, _dotted("weight_scale")),
    DeclaredRow("nvfp4", _MODELOPT, _WEIGHT, _dotted("weight_scale", "weight_scale_2")),
    DeclaredRow(
        "nvfp4",
        _COMPRESSED,
        ("weight_packed", ".weight_packed"),
        _dotted("weight_scale", "weight_global_scale"),
    ),
    DeclaredRow(
        "int-packed", frozenset(), ("weight_packed", ".weight_packed"), _dotted("weight_scale", "weight_shape")
    ),
    DeclaredRow("int8", frozenset(), _WEIGHT, _dotted("weight_scale")),
    DeclaredRow("int4-modelopt", frozenset(), _WEIGHT, _dotted("weight_scale")),
    DeclaredRow("gptq", frozenset(), ("qweight", ".qweight"), _dotted("qzeros", "scales", "g_idx")),
    DeclaredRow("awq", frozenset(), ("qweight", ".qweight"), _dotted("qzeros", "scales")),
    DeclaredRow(
        "bnb-nf4",
        frozenset(),
        _WEIGHT,
        _dotted("weight.absmax", "weight.quant_map", "weight.quant_state.bitsandbytes__nf4"),
    ),
    DeclaredRow(
        "bnb-fp4",
        frozenset(),
        _WEIGHT,
        _dotted("weight.absmax", "weight.quant_map", "weight.quant_state.bitsandbytes__fp4"),
    ),
    DeclaredRow("bnb-int8", frozenset(), _WEIGHT, _dotted("SCB")),
)


def declared_groups(
    format_name: str, method: str, bits: int | None, block: tuple[int, ...] | None, weights: tuple[str, ...]
) -> tuple[StoredGroup, ...]:
    """The names of a declared format; where no row has them, a group without parts, which nothing can undo."""
    row = next(
        (row for row in DECLARED if row.format == format_name and (not row.methods or method in row.methods)), None
    )
    if row is None:
        return (StoredGroup(format_name, bits, block, "weight", ".weight", ".weight", (), weights, 0),)
    part, end = row.values
    return (StoredGroup(format_name, bits, block, part, end, weight_end(end), row.parts, weights, 0),)


_LINEAR = re.compile(
    r"attn\.(q|k|v|qkv|o|gate)$|mlp\.(gate|up|gate_up|down)$|moe\.(expert|shared)\.(gate|up|gate_up|down)$"
    r"|mla\.(q_a|q_b|kv_a|kv_b)$|delta\.(qkv|q|k|v|z|qkvz|out)$|mamba\.(in|out)$"
)
"""Roles of linear layers, which is what quantisers quantise."""


def declared_weights(roles: Iterable[TensorRole], left_alone: tuple[str, ...], format_name: str) -> tuple[str, ...]:
    """Name patterns of the linear layers that are not left alone; MXFP4 of transformers is for experts."""
    experts = format_name == "mxfp4"
    found = []
    for row in roles:
        if (
            row.param != "weight"
            or not _LINEAR.match(row.role)
            or (experts and not row.role.startswith("moe.expert."))
        ):
            continue
        module = row.pattern.removesuffix(".weight")
        if not any(is_left_alone(module, entry) for entry in left_alone):
            found.append(row.pattern)
    return tuple(dict.fromkeys(found))


_ROUTER = re.compile(r"(^|\.)(\w*gate|\w*router)\.weight$")


def weights_by_shape(tensors: Iterable[TensorInfo], left_alone: tuple[str, ...]) -> tuple[str, ...]:
    """The same without roles: matrices of layers, routers excepted, which no quantiser takes for linear layers."""
    found = []
    for info in tensors:
        pattern = pattern_of(info.name)
        linear = (
            len(info.shape) == 2 and pattern.endswith(".weight") and "*" in pattern and not _ROUTER.search(pattern)
        )
        if linear and not any(is_left_alone(pattern.removesuffix(".weight"), entry) for entry in left_alone):
            found.append(pattern)
    return tuple(dict.fromkeys(found))


def is_left_alone(module: str, entry: str) -> bool:
    """Whether an entry of `modules_to_not_convert`, `ignore` or `exclude_modules` names this module.

    It may be the module's own name or that of one around it, in full or its end, with wildcards, or a regular
    expression after `re:`.
    """
    if entry.startswith("re:"):
        return _matches(module, entry[3:])
    if module == entry or module.endswith(f".{entry}") or module.startswith(f"{entry}."):
        return True
    return "*" in entry and (fnmatchcase(module, entry) or fnmatchcase(module, f"{entry}.*"))


_SIMPLE = re.compile(r"[\w.*\\$^+-]{0,200}")


def _matches(module: str, expression: str) -> bool:
    """A regular expression of literals and `.*`, as ignore lists have them, matched from the start.

    Any other is a stranger's program for our machine (a few characters can take hours), so it matches nothing.
    """
    if not _SIMPLE.fullmatch(expression):
        return False
    plain = expression.removeprefix("^").replace(r"\d+", "*").replace(".*", "*").replace("\\.", ".")
    if not re.fullmatch(r"[\w.*-]*\$?", plain) or plain.count("*") > 6:
        return False
    return fnmatchcase(module, plain.removesuffix("$") if plain.endswith("$") else f"{plain}*")
