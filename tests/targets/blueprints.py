"""Blueprints written by hand, so that the target is tested without probes."""

from __future__ import annotations

import dataclasses
from typing import Any

from scaffold_tools.blueprint.facts import Blueprint, Const, Expression, Fact, KeyUse, Product, TensorRole, Term
from scaffold_tools.classify.evidence import Evidence

_WHY = (Evidence("code", "written by hand"),)

QWEN3_CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 12288,
    "max_position_embeddings": 40960,
    "model_type": "qwen3",
    "num_attention_heads": 32,
    "num_hidden_layers": 36,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000,
    "tie_word_embeddings": False,
    "vocab_size": 151936,
}


def key(name: str, power: float = 1.0) -> Product:
    return Product((Term(name, power),))


def fact(name: str, value: Any, expression: Expression | None = None) -> Fact:
    return Fact(name, value, "measured", _WHY, expression)


def role(
    name: str, pattern: str, shape: tuple[int, ...], param: Any = "weight", packing: str | None = None
) -> TensorRole:
    layers = tuple(range(36)) if "*" in pattern else None
    return TensorRole(name, pattern, param, shape, layers, packing, _WHY)


def qwen3() -> Blueprint:
    config = QWEN3_CONFIG
    return Blueprint(
        model_name="Qwen/Qwen3-8B",
        architecture="Qwen3ForCausalLM",
        model_type="qwen3",
        in_transformers=True,
        facts=(
            fact("num_layers", 36, key("num_hidden_layers")),
            fact("hidden_size", 4096, key("hidden_size")),
            fact("vocab_size", 151936, key("vocab_size")),
            fact("num_attention_heads", 32, key("num_attention_heads")),
            fact("num_query_groups", 8, key("num_key_value_heads")),
            fact("head_dim", 128, key("head_dim")),
            fact("ffn_hidden_size", 12288, key("intermediate_size")),
            fact("max_position_embeddings", 40960, key("max_position_embeddings")),
            fact("norm.kind", "rmsnorm", Const("rmsnorm")),
            fact("norm.zero_centered", False, Const(False)),
            fact("norm.eps", 1e-6, key("rms_norm_eps")),
            fact("norm.bias", False, Const(False)),
            fact("norm.affine", True, Const(True)),
            fact("residual.parallel", False, Const(False)),
            fact("residual.multiplier", 1.0, Const(1.0)),
            fact("embedding.multiplier", 1.0, Const(1.0)),
            fact("logits.multiplier", 1.0, Const(1.0)),
            fact("logits.softcap", None, Const(None)),
            fact("attention.scale", 128**-0.5, key("head_dim", -0.5)),
            fact("attention.softcap", None, Const(None)),
            fact("attention.window", [None] * 36, Const(None)),
            fact("attention.clip_qkv", None, Const(None)),
            fact("qk_norm.kind", "per_head", Const("per_head")),
            fact("qk_norm.after_rope", False, Const(False)),
            fact("qk_norm.zero_centered", False, Const(False)),
            fact("qk_norm.eps", 1e-6, key("rms_norm_eps")),
            fact("position.kind", "rope", Const("rope")),
            fact("rope.pairing", "half", Const("half")),
            fact("rope.dim", 128, key("head_dim")),
            fact("rope.fraction", 1.0, Const(1.0)),
            fact(
                "rope.sets",
                [
                    {
                        "layers": list(range(36)),
                        "type": "default",
                        "theta": 1000000.0,
                        "parameters": {"rope_theta": 1000000.0, "rope_type": "default"},
                        "config_key": "rope_parameters",
                    }
                ],
            ),
            fact("mlp.activation", "silu", key("hidden_act")),
            fact("mlp.gated", True, Const(True)),
            fact("bias.qkv", False, key("attention_bias")),
            fact("bias.o", False, key("attention_bias")),
            fact("bias.mlp", False, Const(False)),
            fact("bias.head", False, Const(False)),
            fact("tied_embeddings", False, key("tie_word_embeddings")),
        ),
        roles=(
            role("embed.tokens", "model.embed_tokens.weight", (151936, 4096)),
            role("head", "lm_head.weight", (151936, 4096)),
            role("norm.final", "model.norm.weight", (4096,)),
            role("norm.pre_attn", "model.layers.*.input_layernorm.weight", (4096,)),
            role("norm.pre_mlp", "model.layers.*.post_attention_layernorm.weight", (4096,)),
            role("norm.q", "model.layers.*.self_attn.q_norm.weight", (128,)),
            role("norm.k", "model.layers.*.self_attn.k_norm.weight", (128,)),
            role("attn.q", "model.layers.*.self_attn.q_proj.weight", (4096, 4096)),
            role("attn.k", "model.layers.*.self_attn.k_proj.weight", (1024, 4096)),
            role("attn.v", "model.layers.*.self_attn.v_proj.weight", (1024, 4096)),
            role("attn.o", "model.layers.*.self_attn.o_proj.weight", (4096, 4096)),
            role("mlp.gate", "model.layers.*.mlp.gate_proj.weight", (12288, 4096)),
            role("mlp.up", "model.layers.*.mlp.up_proj.weight", (12288, 4096)),
            role("mlp.down", "model.layers.*.mlp.down_proj.weight", (4096, 12288)),
        ),
        layer_kinds=(),
        keys=tuple(KeyUse(name, value, None, None) for name, value in config.items()),
    )


def with_fact(blueprint: Blueprint, name: str, value: Any, expression: Expression | None = None) -> Blueprint:
    """The same blueprint with one fact replaced or added."""
    rest = tuple(row for row in blueprint.facts if row.name != name)
    return dataclasses.replace(blueprint, facts=(*rest, fact(name, value, expression)))


def with_key(blueprint: Blueprint, name: str, value: Any) -> Blueprint:
    """The same blueprint with one config key replaced or added."""
    rest = tuple(use for use in blueprint.keys if use.key != name)
    return dataclasses.replace(blueprint, keys=(*rest, KeyUse(name, value, None, None)))


def without_key(blueprint: Blueprint, name: str) -> Blueprint:
    """The same blueprint with one config key gone."""
    return dataclasses.replace(blueprint, keys=tuple(use for use in blueprint.keys if use.key != name))
