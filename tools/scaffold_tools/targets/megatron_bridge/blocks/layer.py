"""How the sublayers of a layer are wired."""

from __future__ import annotations

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.targets.megatron_bridge.blocks.facts import has
from scaffold_tools.targets.megatron_bridge.blocks.model import BlockRow, Naming, Part


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
)
