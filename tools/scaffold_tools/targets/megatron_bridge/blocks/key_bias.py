"""Keys that add a bias to their scores, and residuals with a learned factor on each channel."""

from __future__ import annotations

from scaffold_tools.blueprint.facts import Blueprint, Gap
from scaffold_tools.targets.megatron_bridge.blocks.facts import differs_from, expression, has
from scaffold_tools.targets.megatron_bridge.blocks.model import BlockRow, Naming, Part, ProviderField

_CORE = "decoder.layers.*.self_attention.core_attention.key_bias"
FACTORS: tuple[tuple[str, str, str], ...] = (
    ("residual.attn", "factor_on_attn_residual", "decoder.layers.*.self_attn_bda.weight"),
    ("residual.mlp", "factor_on_mlp_residual", "decoder.layers.*.mlp_bda.weight"),
)
"""(role, feature, Megatron's name)."""


def _key_bias(blueprint: Blueprint, naming: Naming) -> Part:
    if has(blueprint, "mla.kv_b"):
        return Part(covers=(), gaps=(Gap("attention.key_bias", "a bias of keys in a latent attention has no block"),))
    keep = blueprint.fact("attention.keep")
    fields = (
        ()
        if keep is None
        else (
            ProviderField(
                "key_bias_keep",
                "int",
                "2048",
                expression(blueprint, "attention.keep"),
                keep.value,
                "Keys that a query sees: those before it that add most to their scores.",
            ),
        )
    )
    bias = ("key_bias_shift",) if has(blueprint, "attn.key_bias.proj", "bias") else ()
    return Part(
        features=("core_attention", "eager_attention", "key_bias", *bias, *(("key_bias_keep",) if keep else ())),
        fields=fields,
        names=(("attn.key_bias.rate", f"{_CORE}.rate"), ("attn.key_bias.proj", f"{_CORE}.projection")),
        module_types=((f"{naming.prefix}KeyBias", "column"), (f"{naming.prefix}KeyBiasProjection", "row")),
    )


def _factors(blueprint: Blueprint, naming: Naming) -> Part:
    if differs_from(blueprint, "residual.multiplier", 1.0) or blueprint.value("residual.parallel") is True:
        reason = "learned factors on the residual beside a factor on the sublayer, or in a parallel layer"
        return Part(covers=(), gaps=(Gap("residual.attn", f"{reason}, have no block"),))
    found = [row for row in FACTORS if has(blueprint, row[0])]
    return Part(
        features=("residual_factors", *(feature for _, feature, _ in found)),
        names=tuple((role, name) for role, _, name in found),
        module_types=((f"{naming.prefix}BiasDropoutAdd", "replicated"),),
    )


ROWS: tuple[BlockRow, ...] = (
    BlockRow(
        "bias of keys",
        "every key adds a number to its scores that its values give, and the largest ones are seen",
        ("attention.key_bias", "attention.keep"),
        lambda blueprint: blueprint.value("attention.key_bias") is True,
        _key_bias,
    ),
    BlockRow(
        "learned factors on the residual",
        "the residual is multiplied by a weight of each channel; megatron-core adds it as it is",
        (),
        lambda blueprint: any(has(blueprint, role) for role, _, _ in FACTORS),
        _factors,
    ),
)
