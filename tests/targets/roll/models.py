"""Blueprints written by hand, of the kinds of models that mcore_adapter takes in different ways."""

from __future__ import annotations

import dataclasses
from typing import Any

from scaffold_tools.blueprint.facts import Blueprint, Const, KeyUse, LayerRule, Product, Term
from targets.blueprints import fact, key, qwen3, role, with_fact

_LAYER = "model.layers.*."
_EXPERT = f"{_LAYER}mlp.experts.*."

MIXTURE_KEYS: dict[str, Any] = {
    "n_routed_experts": 16,
    "num_experts_per_tok": 4,
    "moe_intermediate_size": 1408,
    "first_k_dense_replace": 1,
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "n_shared_experts": 2,
}


def changed(
    blueprint: Blueprint, facts: tuple[Any, ...], roles: tuple[Any, ...], without: tuple[str, ...] = (), **keys: Any
) -> Blueprint:
    """With facts, roles and keys more, and without roles that begin so."""
    for row in facts:
        blueprint = with_fact(blueprint, row.name, row.value, row.expression)
    kept = tuple(row for row in blueprint.roles if not row.role.startswith(without or ("nothing",)))
    uses = tuple(KeyUse(name, value, None, None) for name, value in keys.items())
    return dataclasses.replace(blueprint, roles=(*kept, *roles), keys=(*blueprint.keys, *uses))


def dense() -> Blueprint:
    """Qwen3 under a name that no ROLL has."""
    return dataclasses.replace(qwen3(), architecture="HeronForCausalLM", model_type="heron", model_name="birds/heron")


def mixture() -> Blueprint:
    """Experts in all layers but the first, and a shared expert."""
    shared = Product((Term("moe_intermediate_size"), Term("n_shared_experts")))
    facts = (
        fact("moe.num_experts", 16, key("n_routed_experts")),
        fact("moe.top_k", 4, key("num_experts_per_tok")),
        fact("moe.ffn_hidden_size", 1408, key("moe_intermediate_size")),
        fact("moe.layers", [False] + [True] * 35, LayerRule("from", ("first_k_dense_replace",), "num_hidden_layers")),
        fact("moe.score", "sigmoid", Const("sigmoid")),
        fact("moe.renormalise", True, key("norm_topk_prob")),
        fact("moe.scale", 2.5, key("routed_scaling_factor")),
        fact("moe.groups", 1, Const(1)),
        fact("moe.correction_bias", True, Const(True)),
        fact("moe.router_fp32", True, Const(True)),
        fact("moe.router_bias", False, Const(False)),
        fact("moe.shared_width", 2816, shared),
        fact("moe.shared_gate", False, Const(False)),
        fact("moe.expert_bias", False, Const(False)),
    )
    roles = (
        role("moe.router", f"{_LAYER}mlp.gate.weight", (16, 4096)),
        role("moe.router.correction_bias", f"{_LAYER}mlp.gate.e_score_correction_bias", (16,), "other"),
        role("moe.expert.gate", f"{_EXPERT}gate_proj.weight", (1408, 4096)),
        role("moe.expert.up", f"{_EXPERT}up_proj.weight", (1408, 4096)),
        role("moe.expert.down", f"{_EXPERT}down_proj.weight", (4096, 1408)),
        role("moe.shared.gate", f"{_LAYER}mlp.shared_experts.gate_proj.weight", (2816, 4096)),
        role("moe.shared.up", f"{_LAYER}mlp.shared_experts.up_proj.weight", (2816, 4096)),
        role("moe.shared.down", f"{_LAYER}mlp.shared_experts.down_proj.weight", (4096, 2816)),
    )
    return changed(dense(), facts, roles, **MIXTURE_KEYS)


def latent() -> Blueprint:
    """Latent attention without a mixture."""
    facts = (
        fact("mla.q_rank", 1536, key("q_lora_rank")),
        fact("mla.kv_rank", 512, key("kv_lora_rank")),
        fact("mla.nope_dim", 128, key("qk_nope_head_dim")),
        fact("mla.rope_dim", 64, key("qk_rope_head_dim")),
        fact("mla.value_dim", 128, key("v_head_dim")),
        fact("mla.down_bias", False, Const(False)),
        fact("mla.norm.kind", "rmsnorm", Const("rmsnorm")),
        fact("mla.norm.zero_centered", False, Const(False)),
        fact("mla.norm.eps", 1e-6, key("rms_norm_eps")),
        fact("mla.score_mscale", False, Const(False)),
        fact("qk_norm.kind", "none", Const("none")),
        fact("head_dim", 192),
        fact("attention.scale", 192**-0.5),
        fact("rope.pairing", "interleaved", Const("interleaved")),
        fact("rope.dim", 64, key("qk_rope_head_dim")),
        fact("rope.fraction", 1 / 3),
    )
    roles = (
        role("mla.q_a", f"{_LAYER}self_attn.q_a_proj.weight", (1536, 4096)),
        role("mla.q_a_norm", f"{_LAYER}self_attn.q_a_layernorm.weight", (1536,)),
        role("mla.q_b", f"{_LAYER}self_attn.q_b_proj.weight", (6144, 1536)),
        role("mla.kv_a", f"{_LAYER}self_attn.kv_a_proj_with_mqa.weight", (576, 4096)),
        role("mla.kv_a_norm", f"{_LAYER}self_attn.kv_a_layernorm.weight", (512,)),
        role("mla.kv_b", f"{_LAYER}self_attn.kv_b_proj.weight", (8192, 512)),
    )
    keys = {"q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64}
    gone = ("attn.q", "attn.k", "attn.v", "norm.q", "norm.k")
    return changed(dense(), facts, roles, gone, v_head_dim=128, **keys)


def fused() -> Blueprint:
    """Queries, keys and values in one tensor, gate and up in another."""
    roles = (
        role("attn.qkv", f"{_LAYER}self_attn.qkv_proj.weight", (6144, 4096), packing="concat:q,k,v"),
        role("mlp.gate_up", f"{_LAYER}mlp.gate_up_proj.weight", (24576, 4096), packing="concat:gate,up"),
    )
    return changed(dense(), (), roles, ("attn.q", "attn.k", "attn.v", "mlp.gate", "mlp.up"))


def yarn(blueprint: Blueprint) -> Blueprint:
    """The same with a table scaled by YaRN."""
    (table,) = blueprint.value("rope.sets")
    parameters = {"rope_theta": 1e6, "rope_type": "yarn", "factor": 4.0, "beta_fast": 24}
    return with_fact(blueprint, "rope.sets", [{**table, "type": "yarn", "parameters": parameters}])
