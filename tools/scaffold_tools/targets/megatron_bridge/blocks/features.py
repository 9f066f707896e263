"""Features of a modeling module: which of them change the layer spec, and which follow from others."""

from __future__ import annotations

SPEC_FEATURES = frozenset(
    {
        "mixer",
        "latent_attention",
        "expert_layers",
        "residual_multiplier",
        "mlp_output_multiplier",
        "post_norm",
        "pre_linear_norm",
        "no_pre_attn_norm",
        "no_pre_mlp_norm",
        "plain_norm",
        "core_attention",
        "self_attention",
        "proj_bias",
        "no_qkv_bias",
        "qk_norm_heads",
        "qk_norm_own",
        "parallel_residual",
        "norm_on_sum",
        "residual_after_norm",
        "residual_factors",
        "layer_exceptions",
        "final_norm_eps",
        "no_final_norm",
    }
)
BLOCK_FEATURES = frozenset(
    {"latent_attention", "expert_layers", "mixer", "layer_exceptions", "final_norm_eps", "no_final_norm"}
)
"""Layers that differ from each other, or that the spec of one layer does not build."""
MIXERS = ("mamba", "delta", "selective", "short_conv", "lru", "lightning")
"""Features of layers whose mixer is not attention, each with a template and a function for its spec."""
OWN_LATENT = frozenset({"latent_plain_query", "latent_bias", "latent_rope"})
"""What latent attention has beyond megatron-core's."""
ROUTED = frozenset({"own_router", "capped_router", "sparse_mixer", "expert_post_norm", "expert_output_factor"})
"""What changes the experts themselves."""
SELF_ATTENTION_FEATURES = frozenset(
    {
        *("rope_sets", "rope_attention_factor", "clip_qkv", "query_temperature", "own_gate"),
        *("mamba_beside", "attention_input_multiplier", "attention_output_multiplier"),
    }
)
UNFUSED = frozenset(
    {
        *("plain_norm", "shared_pre_norm", "own_gate", "mamba_beside", "attention_input_multiplier"),
        *("lightning", "residual_after_norm"),
    }
)
"""Features with which the norm before attention is a module of its own."""


UNFUSED_MLP = frozenset({"plain_norm", "shared_pre_norm", "residual_after_norm"})
"""Features with which the norm before the MLP is a module of its own, or is missing."""


def needs_layer_spec(features: frozenset[str]) -> bool:
    """Whether any block changes the transformer layer itself."""
    return bool(expand(features) & SPEC_FEATURES)


def expand(features: frozenset[str]) -> frozenset[str]:
    """Features of shared classes that follow from those of the rows."""
    if features & SELF_ATTENTION_FEATURES:
        features = features | {"self_attention"}
    if "core_attention" in features and not features & {"eager_attention", "difference"}:
        features = features | {"fused_core_attention"}
    if features & OWN_LATENT:
        own = "own_sparse_attention" if "key_selection" in features else "own_latent_attention"
        features = features | {own}
    if features & BLOCK_FEATURES and "key_selection" not in features:
        features = features | {"stock_layers"}
    if "expert_layers" in features and (features & ROUTED or replaces_mlp(features)):
        features = features | {"expert_spec"}
    own_norm = "qk_norm_own" in features and "qk_norm_no_bias" not in features
    if own_norm or ("layer_windows" in features and "eager_attention" not in features):
        features = features | {"copies_config"}
    return features


def replaces_mlp(features: frozenset[str]) -> bool:
    """Whether the layer spec names another MLP."""
    return bool(features & {"post_mlp_norm", "pre_down_norm", "no_pre_mlp_norm", *UNFUSED_MLP})
