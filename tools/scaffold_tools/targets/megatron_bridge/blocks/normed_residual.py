"""Layers whose residual is what the norm on a sublayer's input puts out, with factors on both sides of each sum."""

from __future__ import annotations

from scaffold_tools.blueprint.facts import Blueprint, Gap
from scaffold_tools.targets.megatron_bridge.blocks.facts import expression, has
from scaffold_tools.targets.megatron_bridge.blocks.model import BlockRow, Naming, Part, ProviderField
from scaffold_tools.targets.megatron_bridge.blocks.norms import after_norm
from scaffold_tools.targets.megatron_bridge.mixer_rules import NORM_APART

SUBLAYERS: tuple[tuple[str, str, str], ...] = (
    ("attn", "attention", "attention"),
    ("mixer", "mixer", "a mixer that is not attention"),
    ("mlp", "mlp", "the MLP"),
)
"""(part of the fact's name, beginning of the provider field, words)."""
SIDES: tuple[tuple[str, str, str], ...] = (
    ("keep", "residual_multiplier", "Factor on the normed residual to which {} is added."),
    ("add", "output_multiplier", "Factor on what {} puts out, before the residual addition."),
)
"""(end of the fact's name, end of the provider field, comment)."""
FIELDS: tuple[tuple[str, str, str], ...] = tuple(
    (f"residual.{sublayer}.{side}", f"normed_{name}_{end}", comment.format(words))
    for sublayer, name, words in SUBLAYERS
    for side, end, comment in SIDES
)
"""(fact, provider field, comment)."""
MIXERS = ("mamba", "delta", "selective", "short_conv", "lru", "lightning")
"""Beginnings of the facts of mixers; one with a norm in its input projection keeps the normed input to itself."""


def _part(blueprint: Blueprint, naming: Naming) -> Part:
    fused = [kind for kind in MIXERS if kind not in NORM_APART and any(blueprint.value(f"{kind}.layers") or ())]
    both = has(blueprint, "norm.pre_attn") and has(blueprint, "norm.pre_mlp")
    sums = has(blueprint, "norm.after_attn") or has(blueprint, "norm.after_mlp")
    if fused or sums or not both or blueprint.value("residual.parallel") is True:
        what = "the mixer with a norm of its own, in the modeling module"
        return Part(covers=(), gaps=(Gap("residual.after_norm", "a residual after such norms", write_what=what),))
    fields = tuple(
        ProviderField(name, "float", "1.0", expression(blueprint, fact), blueprint.value(fact), comment)
        for fact, name, comment in FIELDS
        if blueprint.fact(fact) is not None
    )
    mixers = ("residual_after_norm_mixers",) if blueprint.fact("residual.mixer.add") is not None else ()
    return Part(
        features=("residual_after_norm", *mixers),
        fields=fields,
        names=(
            ("norm.pre_attn", "decoder.layers.*.input_layernorm"),
            ("norm.pre_mlp", "decoder.layers.*.pre_mlp_layernorm"),
        ),
    )


ROWS: tuple[BlockRow, ...] = (
    BlockRow(
        "residual after the norm",
        "what the norm on a sublayer's input puts out is also its residual; megatron-core adds to the norm's input",
        ("residual.after_norm", *(fact for fact, _, _ in FIELDS)),
        after_norm,
        _part,
    ),
)
