"""Where the norms of a layer act, and norms that Transformer Engine does not have."""

from __future__ import annotations

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.targets.megatron_bridge.blocks.facts import has
from scaffold_tools.targets.megatron_bridge.blocks.model import BlockRow, Naming, Part

_LAYER = "decoder.layers.*."


def _row_parallel(naming: Naming) -> tuple[tuple[str, str], ...]:
    return ((f"{naming.prefix}PostNormRowParallelLinear", "row"),)


def _post_attn(blueprint: Blueprint, naming: Naming) -> Part:
    return Part(
        features=("post_norm", "post_attn_norm"),
        names=(("norm.post_attn", f"{_LAYER}self_attention.linear_proj.post_layernorm"),),
        module_types=_row_parallel(naming),
    )


def _post_mlp(blueprint: Blueprint, naming: Naming) -> Part:
    return Part(
        features=("post_norm", "post_mlp_norm"),
        names=(("norm.post_mlp", f"{_LAYER}mlp.linear_fc2.post_layernorm"),),
        module_types=_row_parallel(naming),
    )


def is_plain(blueprint: Blueprint) -> bool:
    """LayerNorm without bias or without weight; Transformer Engine's LayerNorm always has both."""
    if blueprint.value("norm.affine") is False:
        return True
    return blueprint.value("norm.kind") == "layernorm" and blueprint.value("norm.bias") is False


def has_pre_norm(blueprint: Blueprint, sublayer: str) -> bool:
    """Whether a norm acts on the input of `attn` or `mlp`. Norms without weights leave no tensor to tell by: they are
    before both sublayers. A norm that is only in layers whose mixer is not attention is no part of the stock layer."""
    if blueprint.value(f"norm.pre_{sublayer}.layers") == "recurrent":
        return False
    return blueprint.value("norm.affine") is False or has(blueprint, f"norm.pre_{sublayer}")


def input_norm_is_fused(blueprint: Blueprint) -> bool:
    """Whether the norm before attention is part of the query, key and value projection, as in the stock layer."""
    shared = blueprint.value("residual.parallel") is True and not has(blueprint, "norm.pre_mlp")
    # A gate takes the normed input too, and so may the residual.
    twice = has(blueprint, "attn.output_gate") or has(blueprint, "lightning.gate") or after_norm(blueprint)
    return has_pre_norm(blueprint, "attn") and not is_plain(blueprint) and not shared and not twice


def after_norm(blueprint: Blueprint) -> bool:
    """Whether the residual of each sublayer is what the norm on its input puts out."""
    return blueprint.value("residual.after_norm") is True


def _plain(blueprint: Blueprint, naming: Naming) -> Part:
    affine = blueprint.value("norm.affine") is not False
    features = ["plain_norm", "affine_norm" if affine else "bare_norm"]
    if blueprint.value("norm.kind") == "rmsnorm":
        features.append("bare_rmsnorm")
    names = []
    if has(blueprint, "norm.pre_attn"):
        names.append(("norm.pre_attn", f"{_LAYER}input_layernorm"))
    if has(blueprint, "norm.pre_mlp"):
        names.append(("norm.pre_mlp", f"{_LAYER}pre_mlp_layernorm"))
    return Part(
        features=tuple(features),
        names=tuple(names),
        module_types=((f"{naming.prefix}LayerNorm", "replicated"),) if affine else (),
    )


ROWS: tuple[BlockRow, ...] = (
    BlockRow(
        "norm after attention",
        "a norm acts on the attention output before the residual addition (sandwich or post-only layout)",
        (),
        lambda blueprint: has(blueprint, "norm.post_attn"),
        _post_attn,
    ),
    BlockRow(
        "norm after MLP",
        "a norm acts on the MLP output before the residual addition (sandwich or post-only layout)",
        (),
        lambda blueprint: has(blueprint, "norm.post_mlp"),
        _post_mlp,
    ),
    BlockRow(
        "no norm before attention",
        "the stock projection is fused with a norm on its input, which this model does not have",
        (),
        lambda blueprint: not has_pre_norm(blueprint, "attn") and has(blueprint, "norm.post_attn"),
        lambda blueprint, naming: Part(features=("no_pre_attn_norm",)),
    ),
    BlockRow(
        "no norm before MLP",
        "the stock projection is fused with a norm on its input, which this model does not have",
        (),
        lambda blueprint: not has_pre_norm(blueprint, "mlp") and has(blueprint, "norm.post_mlp"),
        lambda blueprint, naming: Part(features=("no_pre_mlp_norm",)),
    ),
    BlockRow(
        "norm without bias or weight",
        "Transformer Engine's LayerNorm always has weight and bias",
        ("norm.bias", "norm.affine"),
        is_plain,
        _plain,
    ),
)
