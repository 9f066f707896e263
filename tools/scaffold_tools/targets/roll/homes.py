"""Parameters that are called otherwise in some layers: a norm is fused with what follows, which differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from scaffold_tools.blueprint.facts import Blueprint, Gap
from scaffold_tools.targets.roll.operations import CHECK, Operation

MIXERS = ("mamba", "delta", "selective", "short_conv", "lru", "lightning")


@dataclass(frozen=True)
class Home:
    """A parameter that is called otherwise in some layers."""

    usual: str
    """Part of its name in the template."""
    other: str
    """What stands there in those layers."""
    flags: str
    """Field of the config with one flag a layer."""
    at: bool
    """The flag of those layers."""


MLP_NORM = ".mlp.linear_fc1.layer_norm_"
HOMES: tuple[Home, ...] = (
    Home(".pre_mlp_layernorm.", MLP_NORM, "moe_layer_freq", False),
    Home(".mlp.post_layernorm.", ".mlp.linear_fc2.post_layernorm.", "moe_layer_freq", False),
)
"""Norms that are fused with an MLP, and are modules of their own beside experts."""

USUAL_NORM = ".self_attention.linear_qkv.layer_norm_"
"""Where the norm on a layer's input is in layers that attend."""


def beside_experts(operations: Sequence[Operation], blueprint: Blueprint) -> tuple[list[Operation], tuple[Home, ...]]:
    """Names as layers with experts have them, and the other homes where only some layers have experts."""
    layers = list(blueprint.value("moe.layers") or [])
    alone = not all(blueprint.value("mixer.layers") or [True])
    if blueprint.value("moe.num_experts") is None or not any(layers) or alone:
        return list(operations), ()
    homes = [home for home in HOMES if any(home.other in name for row in operations for name in row.mca)]
    found: dict[tuple[tuple[str, ...], tuple[str, ...]], Operation] = {}
    for row in operations:
        mca = row.mca
        for home in homes:
            mca = tuple(name.replace(home.other, home.usual) for name in mca)
        found.setdefault((row.hf, mca), replace(row, mca=mca))
    return list(found.values()), tuple(homes) if not all(layers) else ()


def beside_attention(
    operations: Sequence[Operation], blueprint: Blueprint, fields: frozenset[str]
) -> tuple[list[Operation], tuple[Home, ...]]:
    """One operation for each norm that mixers and lone MLPs have elsewhere than layers that attend."""
    kind = next((one for one in MIXERS if any(blueprint.value(f"{one}.layers") or ())), None)
    flags = f"{kind}_layers" if f"{kind}_layers" in fields else "linear_attention_freq"
    others = (
        Home(USUAL_NORM, ".self_attention.in_proj.layer_norm_", flags, True),
        Home(USUAL_NORM, MLP_NORM, "mixer_layers", False),
        Home(MLP_NORM, ".pre_mlp_layernorm.", "moe_layer_freq", True),
        Home(MLP_NORM, ".self_attention.linear_proj.post_layernorm.", flags, False),
    )
    kept: list[Operation] = []
    homes: list[Home] = []
    for row in operations:
        rivals = {name for one in operations if one.hf == row.hf and one is not row for name in one.mca}
        home = next(
            (
                home
                for home in others
                if home.other in row.mca[0] and any(home.usual in name for name in rivals) and kind is not None
            ),
            None,
        )
        if home is None:
            kept.append(row)
        else:
            homes.append(home)
    return kept, tuple(home for home in others if home in homes)


def several_homes(operations: Sequence[Operation]) -> list[Gap]:
    """One tensor with several operations: the adapter would use the last of them in every layer."""
    seen: dict[str, Operation] = {}
    gaps = []
    for row in operations:
        for name in row.hf:
            if name in seen:
                gaps.append(
                    Gap(
                        name,
                        f"this tensor is {seen[name].mca[0]} in some layers and {row.mca[0]} in others",
                        write_what="a template subclass that names it after its layer",
                        check=CHECK,
                    )
                )
            seen[name] = row
    return gaps
