"""State space layers of Mamba 2, through megatron-core's own mixer: attributes and mappings."""

from __future__ import annotations

from scaffold_tools.blueprint.facts import Blueprint, Gap, TensorRole
from scaffold_tools.targets.megatron_bridge.mapping_rows import Fused, Rename
from scaffold_tools.targets.megatron_bridge.mixer_rules import MIXER, pre_norms
from scaffold_tools.targets.megatron_bridge.rows import Row, size

_GROUP = "State space layers"
_PARITY = "scaffold verify: logits.max_abs"

ROWS: tuple[Row, ...] = (
    *size("mamba.heads", "mamba_num_heads"),
    *size("mamba.head_dim", "mamba_head_dim"),
    *size("mamba.state_dim", "mamba_state_dim"),
    *size("mamba.groups", "mamba_num_groups"),
)
"""The other facts are those of the family's own mixer; without it they are gaps."""

SINGLE: tuple[tuple[str, str, str, str, str], ...] = (
    ("mamba.in", "weight", "MambaInProjMapping", "in_proj.weight", "[z; x; B; C; dt], each sharded for itself"),
    ("mamba.conv", "weight", "MambaConv1dMapping", "conv1d_weight", "channels of x, B and C are sharded one by one"),
    ("mamba.conv", "bias", "MambaConv1dMapping", "conv1d_bias", "channels of x, B and C are sharded one by one"),
    ("mamba.A", "other", "ColumnParallelMapping", "A_log", "one value a head"),
    ("mamba.D", "other", "ColumnParallelMapping", "D", "one value a head"),
    ("mamba.step_bias", "other", "ColumnParallelMapping", "dt_bias", "one value a head"),
    ("mamba.norm", "weight", "ColumnParallelMapping", "norm.weight", "sharded with the channels"),
    ("mamba.out", "weight", "RowParallelMapping", "out_proj.weight", "sharded with the channels"),
)
"""(role, param, mapping class, parameter of the mixer, comment)."""


def has_mamba(blueprint: Blueprint) -> bool:
    """Whether some layer is a state space layer of Mamba 2."""
    return any(blueprint.value("mamba.layers") or ())


def stands_beside(blueprint: Blueprint) -> bool:
    """Whether state space layers stand beside attention, on one norm, and not in its place."""
    return has_mamba(blueprint) and blueprint.value("mamba.beside") is True


def map_mamba(blueprint: Blueprint) -> tuple[list[Rename], list[Fused], list[Gap]]:
    """Rows for the tensors of state space layers, and the second home of the norm in front of them."""
    rows = [row for row in blueprint.roles if row.role.startswith("mamba.")]
    if not rows:
        return [], [], []
    beside = stands_beside(blueprint)
    renames = [] if beside else pre_norms(blueprint, "mamba", _GROUP)
    mixer = MIXER + "mamba." if beside else MIXER
    fused: list[Fused] = []
    gaps: list[Gap] = []
    for row in rows:
        found = next((one for one in SINGLE if one[:2] == (row.role, row.param) and not row.transposed), None)
        if found is None:
            gaps.append(_gap(row))
        else:
            fused.append(Fused(found[2], mixer + found[3], (("hf_param", row.pattern),), found[4]))
    return renames, fused, gaps


def _gap(row: TensorRole) -> Gap:
    return Gap(
        row.pattern,
        f"megatron-core's MambaMixer has no parameter for it ({row.role}, {row.param}, shape {list(row.shape)})",
        write_what="the parameter in the mixer of the modeling module, and a mapping for it",
        check=_PARITY,
    )
