"""Norms inside attention and MLP, on the input of the last projection, which tensor parallelism splits."""

from __future__ import annotations

from scaffold_tools.blueprint.facts import Blueprint, Gap
from scaffold_tools.targets.megatron_bridge.blocks.facts import has
from scaffold_tools.targets.megatron_bridge.blocks.model import BlockRow, Naming, Part

_LAYER = "decoder.layers.*."
PLACES: tuple[tuple[str, str, str, str], ...] = (
    ("norm.pre_o", "pre_o_norm", "norm.post_attn", f"{_LAYER}self_attention.linear_proj.pre_layernorm"),
    ("norm.pre_down", "pre_down_norm", "norm.post_mlp", f"{_LAYER}mlp.linear_fc2.pre_layernorm"),
)
"""(role, feature, role of the norm behind the same projection, Megatron's name)."""


def _gap(role: str, reason: str) -> Part:
    return Part(
        covers=(),
        gaps=(
            Gap(
                role,
                f"{reason} has no block",
                write_what="the row-parallel projection with its norms in the modeling module",
                check="scaffold verify: logits.max_abs",
            ),
        ),
    )


def _part(blueprint: Blueprint, naming: Naming) -> Part:
    found = [place for place in PLACES if has(blueprint, place[0])]
    for role, _, behind, _ in found:
        if has(blueprint, behind):
            return _gap(role, "a projection with norms on its input and on its output")
        if blueprint.value("norm.kind") != "rmsnorm" or has(blueprint, role, "bias"):
            return _gap(role, "a LayerNorm on the input of a row-parallel projection")
    return Part(
        features=("pre_linear_norm", *(feature for _, feature, _, _ in found)),
        names=tuple((role, name) for role, _, _, name in found),
        module_types=(
            (f"{naming.prefix}PreNormRowParallelLinear", "row"),
            (f"{naming.prefix}ShardedNorm", "column"),
        ),
    )


ROWS: tuple[BlockRow, ...] = (
    BlockRow(
        "norm before the output projection",
        "a norm acts inside attention or MLP, on channels that are split over tensor-parallel ranks",
        (),
        lambda blueprint: any(has(blueprint, role) for role, *_ in PLACES),
        _part,
    ),
)
