"""The lines that a layer spec changes in the stock one, and in single layers that lack something."""

from __future__ import annotations

from collections.abc import Mapping

from scaffold_tools.targets.megatron_bridge.blocks.features import OWN_LATENT, UNFUSED, UNFUSED_MLP, replaces_mlp
from scaffold_tools.targets.megatron_bridge.blocks.model import Naming

_COLUMN = "TEColumnParallelLinear"
_ROW = "TERowParallelLinear"
ENGINE_LINEARS = ("TEColumnParallelLinear", "TELayerNormColumnParallelLinear", "TERowParallelLinear")


def spec_lines(features: frozenset[str], naming: Naming) -> list[tuple[str, str]]:
    """What the layer spec changes in the stock one: (attribute path from `layer`, value)."""
    prefix = naming.prefix
    unfused = bool(features & {*UNFUSED, "no_pre_attn_norm"})
    norm = f"{prefix}LayerNorm" if "plain_norm" in features else "TENorm"
    core = "attention.submodules."
    latent_norm = f"{prefix}LatentNorm"
    lines: list[tuple[bool, str, str]] = [
        (bool(features & UNFUSED) and "no_pre_attn_norm" not in features, "input_layernorm", norm),
        (bool(features & OWN_LATENT), "attention.module", f"{prefix}SelfAttention"),
        ("latent_norm" in features and "latent_plain_query" not in features, core + "linear_q_up_proj", _COLUMN),
        ("latent_norm" in features and "latent_plain_query" not in features, core + "q_layernorm", latent_norm),
        ("latent_norm" in features, core + "linear_kv_up_proj", _COLUMN),
        ("latent_norm" in features, core + "kv_layernorm", latent_norm),
        ("self_attention" in features, "attention.module", f"{prefix}SelfAttention"),
        (unfused or "no_qkv_bias" in features, core + "linear_qkv", qkv_linear(features, prefix)),
        ("core_attention" in features, core + "core_attention", f"{prefix}CoreAttention"),
        ("qk_norm_heads" in features, core + "q_layernorm", f"{prefix}QueryNorm"),
        ("qk_norm_heads" in features, core + "k_layernorm", f"{prefix}KeyNorm"),
        ("qk_norm_after_rope" in features, core + "q_layernorm", "IdentityOp"),
        ("qk_norm_after_rope" in features, core + "k_layernorm", "IdentityOp"),
        (_own_before_rope(features), core + "q_layernorm", _own_norm(features, naming)),
        (_own_before_rope(features), core + "k_layernorm", _own_norm(features, naming)),
        (
            bool(features & {"post_attn_norm", "pre_o_norm", "proj_bias"}),
            core + "linear_proj",
            _projection(features, prefix),
        ),
        ("residual_multiplier" in features, "self_attn_bda", "bias_dropout_add"),
        ("factor_on_attn_residual" in features, "self_attn_bda", f"{naming.stem}_residual_addition(config)"),
        ("plain_norm" in features and "shared_pre_norm" not in features, "pre_mlp_layernorm", norm),
        (features & {"plain_norm", "residual_after_norm"} == {"residual_after_norm"}, "pre_mlp_layernorm", norm),
        (replaces_mlp(features), "mlp", _mlp(features, prefix)),
        ("residual_multiplier" in features, "mlp_bda", "bias_dropout_add"),
        ("mlp_output_multiplier" in features, "mlp_bda", "mlp_bias_dropout_add"),
        ("factor_on_mlp_residual" in features, "mlp_bda", f"{naming.stem}_residual_addition(config)"),
        *_expert_lines(features, prefix),
    ]
    return [(target, value) for holds, target, value in lines if holds]


def exception_lines(features: frozenset[str], naming: Naming, values: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """(condition over `layer`, attribute path from the layer's submodules, value) of layers that lack something."""
    core = "self_attention.submodules."
    plain = features - {"proj_bias"}
    projection = _projection(plain, naming.prefix) if plain & {"post_attn_norm", "pre_o_norm"} else _ROW
    unfused = bool(features & {"plain_norm", "shared_pre_norm"})
    path, value = ("input_layernorm", "IdentityOp") if unfused else (core + "linear_qkv", _COLUMN)
    rows = (
        ("some_proj_bias", "without_proj_bias", core + "linear_proj", projection),
        ("some_input_norms", "without_input_norm", path, value),
    )
    return [(values.get(key, ""), target, new) for feature, key, target, new in rows if feature in features]


def _expert_lines(features: frozenset[str], prefix: str) -> list[tuple[bool, str, str]]:
    """What changes in layers with experts alone."""
    if "expert_layers" not in features:
        return []
    layer = f"ModuleSpec(module={prefix}MoELayer, submodules=experts)"
    bare = bool(features & {"no_pre_mlp_norm", "shared_pre_norm"})
    return [
        (bare, "experts.layer.pre_mlp_layernorm", "IdentityOp"),
        (bool(features & {"own_router", "capped_router", "sparse_mixer"}), "experts.router", f"{prefix}Router"),
        (bool(features & {"expert_post_norm", "expert_output_factor"}), "experts.layer.mlp", layer),
    ]


def qkv_linear(features: frozenset[str], prefix: str) -> str:
    """The class of the projection to queries, keys and values.

    Megatron-Bridge tells a projection with a fused norm by the tail of its class name.
    """
    unfused = features & {*UNFUSED, "no_pre_attn_norm"}
    own = prefix if "no_qkv_bias" in features else "TE"
    return own + ("" if unfused else "LayerNorm") + "ColumnParallelLinear"


def _own_before_rope(features: frozenset[str]) -> bool:
    return "qk_norm_own" in features and "qk_norm_after_rope" not in features


def _own_norm(features: frozenset[str], naming: Naming) -> str:
    return f"{naming.prefix}QKNorm" if "qk_norm_no_bias" in features else f"{naming.stem}_qk_norm"


def _projection(features: frozenset[str], prefix: str) -> str:
    if "proj_bias" in features:
        return f"{prefix}AttentionOutputLinear"
    return prefix + ("PreNorm" if "pre_o_norm" in features else "PostNorm") + "RowParallelLinear"


def _mlp(features: frozenset[str], prefix: str) -> str:
    unfused = features & {"no_pre_mlp_norm", *UNFUSED_MLP}
    first = "TEColumnParallelLinear" if unfused else "TELayerNormColumnParallelLinear"
    own = "Post" if "post_mlp_norm" in features else "Pre" if "pre_down_norm" in features else ""
    second = f"{prefix}{own}NormRowParallelLinear" if own else "TERowParallelLinear"
    return f"ModuleSpec(module=MLP, submodules=MLPSubmodules(linear_fc1={first}, linear_fc2={second}))"
