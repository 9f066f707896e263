"""How the sublayers of a layer are wired."""

from __future__ import annotations

from scaffold_tools.blueprint.facts import Blueprint, Gap
from scaffold_tools.targets.megatron_bridge.blocks.facts import has
from scaffold_tools.targets.megatron_bridge.blocks.model import BlockRow, Naming, Part
from scaffold_tools.targets.megatron_bridge.blocks.norms import has_pre_norm


def _parallel(blueprint: Blueprint, naming: Naming) -> Part:
    features = ["parallel_residual"]
    names: tuple[tuple[str, str], ...] = ()
    # Norms without weights leave no tensor: two identical norms of one input are one norm.
    shared = not has(blueprint, "norm.pre_mlp")
    if shared:
        features.append("shared_pre_norm")
        if has(blueprint, "norm.pre_attn"):
            names = (("norm.pre_attn", "decoder.layers.*.input_layernorm"),)
    return Part(features=tuple(features), names=names)


SUMS: tuple[tuple[str, str, str], ...] = (
    ("norm.after_attn", "norm_after_attn", "decoder.layers.*.post_attention_layernorm"),
    ("norm.after_mlp", "norm_after_mlp", "decoder.layers.*.post_mlp_layernorm"),
)
"""(role, feature, Megatron's name)."""


def _sums(blueprint: Blueprint, naming: Naming) -> Part:
    if blueprint.value("residual.parallel") is True:
        return Part(covers=(), gaps=(Gap("norm.after_attn", "norms on the sums of a parallel layer have no block"),))
    found = [row for row in SUMS if has(blueprint, row[0])]
    bare = [f"no_pre_{part}_norm" for part in ("attn", "mlp") if not has_pre_norm(blueprint, part)]
    return Part(
        features=("norm_on_sum", *(feature for _, feature, _ in found), *bare),
        names=tuple((role, name) for role, _, name in found),
    )


ROWS: tuple[BlockRow, ...] = (
    BlockRow(
        "gated delta net",
        "Megatron-Bridge has to be told that the parameters of this module are split by rows",
        (),
        lambda blueprint: has(blueprint, "delta.A"),
        lambda blueprint, naming: Part(module_types=(("GatedDeltaNet", "column"),)),
    ),
    BlockRow(
        "parallel attention and MLP",
        "attention and MLP read the same residual; megatron-core feeds one into the other",
        ("residual.parallel",),
        lambda blueprint: blueprint.value("residual.parallel") is True,
        _parallel,
    ),
    BlockRow(
        "norms on the residual stream",
        "a norm acts on the sum of residual and sublayer, and what it puts out is the residual of what follows",
        (),
        lambda blueprint: any(has(blueprint, role) for role, _, _ in SUMS),
        _sums,
    ),
)
