"""Tensors of mixers that the family brings along: which parameter of the mixer each is, and how it is sharded."""

from __future__ import annotations

from typing import Any, NamedTuple

from scaffold_tools.blueprint.facts import Blueprint, Gap, TensorRole
from scaffold_tools.blueprint.rules import OWN
from scaffold_tools.targets.megatron_bridge.mapping_rows import LAYER, SPLIT_ROWS, Fused, Rename

MIXER = LAYER + "self_attention."
_GROUP = "Mixers"
_PARITY = "scaffold verify: logits.max_abs"
_COLUMN, _ROW, _SAME = "ColumnParallelMapping", "RowParallelMapping", "ReplicatedMapping"


class TensorRow(NamedTuple):
    """One tensor of a mixer."""

    role: str
    param: str
    mapping: str
    name: str
    """Parameter of the mixer."""
    comment: str
    parts: int = 1
    """Parts of equal size whose rows are sharded one by one."""


ROWS: tuple[TensorRow, ...] = (
    TensorRow("selective.in", "weight", SPLIT_ROWS, "in_proj.weight", "input and gate, each sharded for itself", 2),
    TensorRow("selective.in", "bias", SPLIT_ROWS, "in_proj.bias", "input and gate, each sharded for itself", 2),
    TensorRow("selective.conv", "weight", _COLUMN, "conv1d_weight", "one filter a channel"),
    TensorRow("selective.conv", "bias", _COLUMN, "conv1d_bias", "one value a channel"),
    TensorRow("selective.low", "weight", _ROW, "x_proj_weight", "takes the channels of all ranks"),
    TensorRow("selective.step", "weight", _COLUMN, "dt_proj_weight", "gives the step of every channel"),
    TensorRow("selective.step", "bias", _COLUMN, "dt_proj_bias", "one value a channel"),
    TensorRow("selective.A", "other", _COLUMN, "A_log", "one row a channel"),
    TensorRow("selective.D", "other", _COLUMN, "D", "one value a channel"),
    TensorRow("selective.norm_dt", "weight", _SAME, "dt_norm_weight", "the same on every rank"),
    TensorRow("selective.norm_B", "weight", _SAME, "B_norm_weight", "the same on every rank"),
    TensorRow("selective.norm_C", "weight", _SAME, "C_norm_weight", "the same on every rank"),
    TensorRow("selective.out", "weight", _ROW, "out_proj.weight", "sharded with the channels"),
    TensorRow("selective.out", "bias", _SAME, "out_proj.bias", "added once, after the sum over ranks"),
    TensorRow("lru.conv", "weight", _COLUMN, "conv1d_weight", "one filter a channel"),
    TensorRow("lru.conv", "bias", _COLUMN, "conv1d_bias", "one value a channel"),
    TensorRow("lru.input_gate", "weight", _COLUMN, "input_gate_weight", "one matrix a head"),
    TensorRow("lru.input_gate", "bias", _COLUMN, "input_gate_bias", "one row a head"),
    TensorRow("lru.decay_gate", "weight", _COLUMN, "decay_gate_weight", "one matrix a head"),
    TensorRow("lru.decay_gate", "bias", _COLUMN, "decay_gate_bias", "one row a head"),
    TensorRow("lru.decay", "other", _COLUMN, "rate", "one value a channel"),
    TensorRow("lru.out", "weight", _ROW, "out_proj.weight", "sharded with the channels"),
    TensorRow("lru.out", "bias", _SAME, "out_proj.bias", "added once, after the sum over ranks"),
    TensorRow("lightning.in", "weight", _COLUMN, "in_proj.weight", "query, key and value of a head follow each other"),
    TensorRow("lightning.gate", "weight", _COLUMN, "gate_proj.weight", "sharded with the heads"),
    TensorRow("lightning.norm", "weight", _COLUMN, "norm_weight", "one value a channel"),
    TensorRow("lightning.slope", "other", _COLUMN, "slope_rate", "one value a head"),
    TensorRow("lightning.query_decay", "other", _COLUMN, "query_decay", "one row a head"),
    TensorRow("lightning.key_decay", "other", _COLUMN, "key_decay", "one row a head"),
    TensorRow(
        "lightning.diagonal", "other", _SAME, "diagonal_decay", "heads are its second dimension: whole on every rank"
    ),
    TensorRow("lightning.out", "weight", _ROW, "out_proj.weight", "sharded with the channels"),
    TensorRow("short_conv.in", "weight", SPLIT_ROWS, "in_proj.weight", "three parts, each sharded for itself", 3),
    TensorRow("short_conv.in", "bias", SPLIT_ROWS, "in_proj.bias", "three parts, each sharded for itself", 3),
    TensorRow("short_conv.conv", "weight", _COLUMN, "conv1d_weight", "one filter a channel"),
    TensorRow("short_conv.conv", "bias", _COLUMN, "conv1d_bias", "one value a channel"),
    TensorRow("short_conv.out", "weight", _ROW, "out_proj.weight", "sharded with the channels"),
    TensorRow("short_conv.out", "bias", _SAME, "out_proj.bias", "added once, after the sum over ranks"),
)


NORM_APART = ("lightning",)
"""Mixers of which two projections take the normed input, so that the norm is a module of its own."""


class JoinedRow(NamedTuple):
    """Tensors that become one parameter of a mixer."""

    roles: tuple[str, ...]
    mapping: str
    arguments: tuple[str, ...]
    name: str
    """Parameter of the mixer, `.weight` or `.bias` left out."""
    comment: str


JOINED: tuple[JoinedRow, ...] = (
    JoinedRow(
        ("lru.gate", "lru.in"),
        "GatedMLPMapping",
        ("gate", "up"),
        "in_proj",
        "gate and input, each sharded for itself",
    ),
)


def everywhere(blueprint: Blueprint, kind: str) -> bool:
    """Whether every layer has a mixer of the kind."""
    layers = blueprint.value(f"{kind}.layers")
    return bool(layers) and all(layers)


def only_beside_attention(blueprint: Blueprint) -> bool:
    """Whether layers that attend have no norm on their input, and the others do: then it has one home."""
    return blueprint.value("norm.pre_attn.layers") == "recurrent"


def pre_norms(blueprint: Blueprint, kind: str, group: str) -> list[Rename]:
    """Further homes of the norm on a layer's input: in front of mixers, and of MLPs in layers without a mixer."""
    before = blueprint.role("norm.pre_attn")
    renames: list[Rename] = []
    if before is None:
        return renames
    if not everywhere(blueprint, kind) and not only_beside_attention(blueprint):
        renames.append(Rename(group, MIXER + "in_proj.layer_norm_weight", before.pattern))
    if not all(blueprint.value("mixer.layers") or [True]):
        renames.append(Rename(group, LAYER + "mlp.linear_fc1.layer_norm_weight", before.pattern))
        if any(blueprint.value("moe.layers") or ()):
            renames.append(Rename(group, LAYER + "pre_mlp_layernorm.weight", before.pattern))
    return renames


def map_mixers(blueprint: Blueprint) -> tuple[list[Rename], list[Fused], list[Gap]]:
    """Rows for the tensors of mixers, and the second home of the norm in front of them."""
    renames: list[Rename] = []
    fused: list[Fused] = []
    gaps: list[Gap] = []
    for kind in OWN:
        rows = [row for row in blueprint.roles if row.role.startswith(f"{kind}.")]
        if not rows:
            continue
        renames += [] if kind in NORM_APART else pre_norms(blueprint, kind, _GROUP)
        for row in _join(rows, fused):
            found = next((one for one in ROWS if one[:2] == (row.role, row.param) and not row.transposed), None)
            if found is None:
                gaps.append(_gap(row))
                continue
            arguments: list[tuple[str, Any]] = [("hf_param", row.pattern)]
            arguments += [("parts", found.parts)] if found.parts > 1 else []
            fused.append(Fused(found.mapping, MIXER + found.name, tuple(arguments), found.comment))
    return renames, fused, gaps


def _join(rows: list[TensorRole], fused: list[Fused]) -> list[TensorRole]:
    """Take rows that become one parameter out of the rest."""
    for param in ("weight", "bias"):
        for joined in JOINED:
            found = [
                next((row for row in rows if (row.role, row.param) == (role, param)), None) for role in joined.roles
            ]
            taken = [row for row in found if row is not None and not row.transposed]
            if len(taken) < len(joined.roles):
                continue
            arguments = tuple((name, row.pattern) for name, row in zip(joined.arguments, taken, strict=True))
            fused.append(Fused(joined.mapping, f"{MIXER}{joined.name}.{param}", arguments, joined.comment))
            rows = [row for row in rows if row not in taken]
    return rows


def _gap(row: TensorRole) -> Gap:
    return Gap(
        row.pattern,
        f"the family's mixer has no parameter for it ({row.role}, {row.param}, shape {list(row.shape)})",
        write_what="the parameter in the mixer of the modeling module, and a mapping for it",
        check=_PARITY,
    )
