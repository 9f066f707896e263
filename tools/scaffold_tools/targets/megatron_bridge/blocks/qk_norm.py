"""Norms on queries and keys that differ from the layer norms, span all heads, or act after the rotation."""

from __future__ import annotations

from scaffold_tools.blueprint.facts import Blueprint, Gap
from scaffold_tools.targets.megatron_bridge.blocks.facts import expression, has, same
from scaffold_tools.targets.megatron_bridge.blocks.fields import layer_flags
from scaffold_tools.targets.megatron_bridge.blocks.model import (
    BlockRow,
    Naming,
    Part,
    ProviderField,
    ProviderSetting,
)

_ATTENTION = "decoder.layers.*.self_attention."


def norm_kind(blueprint: Blueprint) -> str:
    """`rmsnorm` or `layernorm`; without a fact of its own the q/k norm is of the kind of the layer norms."""
    kind = blueprint.value("qk_norm.norm")
    if kind is None and has(blueprint, "norm.q", "bias"):
        kind = "layernorm"
    return str(kind or blueprint.value("norm.kind", "rmsnorm"))


def _has(blueprint: Blueprint, kind: str) -> bool:
    return blueprint.value("qk_norm.kind", "none") == kind


def _per_head_weight(blueprint: Blueprint) -> bool:
    """A weight [heads, head_dim], or one tensor a head: every head has its own."""
    role = blueprint.role("norm.q")
    return role is not None and (len(role.shape) == 2 or role.packing == "heads")


def _is_full(blueprint: Blueprint) -> bool:
    return _has(blueprint, "full") or (_has(blueprint, "per_head") and _per_head_weight(blueprint))


def _is_own_config(blueprint: Blueprint) -> bool:
    if not _has(blueprint, "per_head") or _per_head_weight(blueprint):
        return False
    return bool(
        norm_kind(blueprint) != blueprint.value("norm.kind", "rmsnorm")
        or _lacks_bias(blueprint)
        or not same(blueprint, "qk_norm.eps", "norm.eps")
        or not same(blueprint, "qk_norm.zero_centered", "norm.zero_centered")
        or blueprint.value("norm.affine") is False
        or _is_bare(blueprint)
    )


def _is_bare(blueprint: Blueprint) -> bool:
    return blueprint.value("qk_norm.affine") is False


def _lacks_bias(blueprint: Blueprint) -> bool:
    return _is_bare(blueprint) or (norm_kind(blueprint) == "layernorm" and not has(blueprint, "norm.q", "bias"))


def _after_rope(blueprint: Blueprint) -> bool:
    return blueprint.value("qk_norm.after_rope") is True and not _has(blueprint, "none")


def _eps_field(blueprint: Blueprint) -> tuple[ProviderField, ...]:
    if blueprint.fact("qk_norm.eps") is None or same(blueprint, "qk_norm.eps", "norm.eps"):
        return ()
    return (
        ProviderField(
            "qk_layernorm_epsilon",
            "float",
            "1e-6",
            expression(blueprint, "qk_norm.eps"),
            blueprint.value("qk_norm.eps"),
            "Epsilon of the query and key norms.",
        ),
    )


def _shared_features(blueprint: Blueprint) -> list[str]:
    features = []
    if _eps_field(blueprint):
        features.append("qk_norm_eps")
    if bool(blueprint.value("qk_norm.zero_centered")):
        features.append("qk_norm_zero_centered")
    if norm_kind(blueprint) == "layernorm":
        features.append("qk_norm_layernorm")
    return features


def _full(blueprint: Blueprint, naming: Naming) -> Part:
    if _after_rope(blueprint) or has(blueprint, "norm.q", "bias"):
        what = "after the rotation" if _after_rope(blueprint) else "with a bias"
        return Part(
            covers=(),
            gaps=(
                Gap(
                    "qk_norm.kind",
                    f"a q/k norm over all heads {what} has no block",
                    write_what="the norm in the attention of the modeling module",
                    check="scaffold verify: logits.max_abs",
                ),
            ),
        )
    own = "qk_norm_by_head" if _has(blueprint, "per_head") else "qk_norm_full_width"
    if own == "qk_norm_full_width" and norm_kind(blueprint) == "layernorm":
        return Part(covers=(), gaps=(Gap("qk_norm.kind", "a LayerNorm over all heads together has no block"),))
    return Part(
        features=("qk_norm_heads", own, *_shared_features(blueprint)),
        fields=_eps_field(blueprint),
        settings=(ProviderSetting("qk_layernorm", True),),
        names=(("norm.q", f"{_ATTENTION}q_layernorm"), ("norm.k", f"{_ATTENTION}k_layernorm")),
        module_types=(
            (f"{naming.prefix}QueryNorm", "replicated"),
            (f"{naming.prefix}KeyNorm", "replicated"),
        ),
    )


def _own_config(blueprint: Blueprint, naming: Naming) -> Part:
    bare = ("qk_norm_no_bias",) if _lacks_bias(blueprint) else ()
    if _is_bare(blueprint):
        bare = (*bare, "qk_norm_bare")
    return Part(
        features=("qk_norm_own", *bare, *_shared_features(blueprint)),
        fields=_eps_field(blueprint),
        settings=(ProviderSetting("qk_layernorm", True),),
        module_types=((f"{naming.prefix}QKNorm", "replicated"),) if bare else (),
    )


def _rotated(blueprint: Blueprint, naming: Naming) -> Part:
    core = f"{_ATTENTION}core_attention."
    features = ["qk_norm_after_rope", "core_attention"]
    # On, although the norms before the rotation are identities: it makes Megatron sum the gradients of q/k norms.
    settings = [ProviderSetting("qk_layernorm", True, comment="The norms act after the rotation.")]
    fields: tuple[ProviderField, ...] = ()
    if blueprint.fact("qk_norm.layers") is not None:
        features.append("qk_norm_some")
        fields = (
            layer_flags(
                blueprint, "qk_norm.layers", "qk_norm_layers", "Whether a layer has norms on queries and keys."
            ),
        )
        if not _is_bare(blueprint):
            comment = "layers have different parameters"
            settings.append(ProviderSetting("hetereogenous_dist_checkpoint", True, comment=comment))
    return Part(
        features=tuple(features),
        fields=fields,
        settings=tuple(settings),
        names=(("norm.q", f"{core}q_layernorm"), ("norm.k", f"{core}k_layernorm")),
    )


ROWS: tuple[BlockRow, ...] = (
    BlockRow(
        "q/k norm over all heads",
        "the norm spans heads that tensor parallelism puts on different ranks, or has a weight for each head",
        ("qk_norm.kind", "qk_norm.norm", "qk_norm.bias", "qk_norm.eps", "qk_norm.zero_centered", "qk_norm.after_rope"),
        _is_full,
        _full,
    ),
    BlockRow(
        "q/k norm unlike the layer norms",
        "megatron-core builds q/k norms with kind, epsilon and centring of the layer norms",
        ("qk_norm.kind", "qk_norm.norm", "qk_norm.bias", "qk_norm.affine", "qk_norm.eps", "qk_norm.zero_centered"),
        _is_own_config,
        _own_config,
    ),
    BlockRow(
        "q/k norm after the rotation",
        "megatron-core normalises queries and keys before the rotation",
        (
            *("qk_norm.kind", "qk_norm.norm", "qk_norm.bias", "qk_norm.eps", "qk_norm.zero_centered"),
            *("qk_norm.after_rope", "qk_norm.layers"),
        ),
        lambda blueprint: _after_rope(blueprint) and not _is_full(blueprint),
        _rotated,
    ),
)
