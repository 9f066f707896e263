"""The words of a blueprint: every role a tensor can have and every fact a model can have, with its meaning.

These two tables are the contract between those who find out (rules, probes) and those who use (targets).
A role or a fact that is not a row here does not exist; adding knowledge starts with adding a row.
"""

from __future__ import annotations

from typing import NamedTuple


class RoleRow(NamedTuple):
    """A role of a tensor."""

    name: str
    meaning: str


class FactRow(NamedTuple):
    """A property of a model."""

    name: str
    type: str
    meaning: str


# Norm roles are named by *where the norm acts*, measured, never by the tensor's name: Llama's
# `post_attention_layernorm` acts before the MLP (`norm.pre_mlp`), Gemma 2's on the attention output (`post_attn`).
ROLES: tuple[RoleRow, ...] = (
    RoleRow("embed.tokens", "token embedding [V, H]"),
    RoleRow("embed.positions", "learned absolute position embedding [P, H]"),
    RoleRow("head", "output projection to the vocabulary [V, H]; absent when tied"),
    RoleRow("norm.embed", "norm on the embedding output"),
    RoleRow("norm.final", "norm before the head"),
    RoleRow("norm.pre_attn", "norm on the input of attention"),
    RoleRow("norm.post_attn", "norm on the attention output, before the residual addition"),
    RoleRow("norm.pre_mlp", "norm on the input of the MLP"),
    RoleRow("norm.post_mlp", "norm on the MLP output, before the residual addition"),
    RoleRow("norm.q", "norm on queries"),
    RoleRow("norm.k", "norm on keys"),
    RoleRow("attn.q", "query projection [heads*head_dim, H]"),
    RoleRow("attn.k", "key projection [groups*head_dim, H]"),
    RoleRow("attn.v", "value projection [groups*head_dim, H]"),
    RoleRow("attn.qkv", "fused query, key, value projection; see packing"),
    RoleRow("attn.o", "output projection [H, heads*head_dim]"),
    RoleRow("attn.sinks", "one learnt softmax offset a head"),
    RoleRow("mlp.gate", "gate half of a gated MLP [F, H]"),
    RoleRow("mlp.up", "up projection [F, H] (the only one when not gated)"),
    RoleRow("mlp.gate_up", "fused gate and up; see packing"),
    RoleRow("mlp.down", "down projection [H, F]"),
    RoleRow("moe.router", "router [E, H]"),
    RoleRow("moe.router.correction_bias", "bias used to choose experts, not to weigh them [E]"),
    RoleRow("moe.expert.gate", "gate of one expert, or stacked [E, F, H]"),
    RoleRow("moe.expert.up", "up of one expert, or stacked"),
    RoleRow("moe.expert.gate_up", "fused gate and up, per expert or stacked; see packing"),
    RoleRow("moe.expert.down", "down of one expert, or stacked"),
    RoleRow("moe.shared.gate", "gate of the shared expert"),
    RoleRow("moe.shared.up", "up of the shared expert"),
    RoleRow("moe.shared.down", "down of the shared expert"),
    RoleRow("moe.shared.router", "scalar gate of the shared expert [1, H]"),
    RoleRow("mla.q_a", "MLA query down projection"),
    RoleRow("mla.q_a_norm", "norm between the two MLA query projections"),
    RoleRow("mla.q_b", "MLA query up projection"),
    RoleRow("mla.kv_a", "MLA key/value down projection with the shared rope key"),
    RoleRow("mla.kv_a_norm", "norm between the two MLA key/value projections"),
    RoleRow("mla.kv_b", "MLA key/value up projection"),
    RoleRow("buffer", "a saved buffer that the code recomputes (inv_freq, masks)"),
)

FACTS: tuple[FactRow, ...] = (
    FactRow("num_layers", "int", "decoder layers"),
    FactRow("hidden_size", "int", "width of the residual stream"),
    FactRow("vocab_size", "int", "rows of the token embedding"),
    FactRow("num_attention_heads", "int", "query heads"),
    FactRow("num_query_groups", "int", "key/value heads"),
    FactRow("head_dim", "int", "width of one query/key head"),
    FactRow("ffn_hidden_size", "int", "width of the dense MLP"),
    FactRow("max_position_embeddings", "int", "longest declared sequence"),
    FactRow("norm.kind", "'rmsnorm' | 'layernorm'", "the norms of the layer stack"),
    FactRow("norm.zero_centered", "bool", "the norm multiplies by 1 + weight"),
    FactRow("norm.eps", "float", "epsilon of the norms"),
    FactRow("norm.bias", "bool", "the norms have a bias"),
    FactRow("norm.affine", "bool", "the norms have a weight"),
    FactRow("residual.parallel", "bool", "attention and MLP read the same residual and are added together"),
    FactRow("residual.multiplier", "float", "factor on each sublayer output before the residual addition"),
    FactRow("embedding.multiplier", "float", "factor on the token embedding"),
    FactRow("logits.multiplier", "float", "factor on the logits (before any softcap)"),
    FactRow("logits.softcap", "float | None", "c in c*tanh(logits/c)"),
    FactRow("attention.scale", "float", "factor on q.k before softmax"),
    FactRow("attention.softcap", "float | None", "c in c*tanh(scores/c)"),
    FactRow("attention.window", "list[int | None] per layer", "keys a query sees, itself included; None = all"),
    FactRow("attention.clip_qkv", "float | None", "clamp on q, k and v right after their projection"),
    FactRow("qk_norm.kind", "'none' | 'per_head' | 'full'", "norm on one head, or on all heads of q (k) together"),
    FactRow("qk_norm.norm", "'rmsnorm' | 'layernorm'", "what the q/k norm computes"),
    FactRow("qk_norm.bias", "bool", "the q/k norm has a bias"),
    FactRow("qk_norm.affine", "bool", "the q/k norm has a weight"),
    FactRow("qk_norm.after_rope", "bool", "the q/k norm acts after the rotation"),
    FactRow("qk_norm.zero_centered", "bool", "the q/k norm multiplies by 1 + weight"),
    FactRow("qk_norm.eps", "float", "epsilon of the q/k norm"),
    FactRow("position.kind", "'rope' | 'learned' | 'alibi' | 'none'", "how positions enter"),
    FactRow("rope.pairing", "'half' | 'interleaved'", "which dimensions rotate together"),
    FactRow("rope.dim", "int", "rotated dimensions of a head"),
    FactRow("rope.fraction", "float", "rope.dim / head_dim"),
    FactRow(
        "rope.sets",
        "list of {layers, type, theta, parameters, inv_freq, attention_factor, config_key, theta_key}",
        "distinct rotary tables and the layers that use each; layers in no set are NoPE. config_key: dotted path of"
        " the rope dict in the HF config object (`rope_parameters`, `rope_parameters.full_attention`). theta_key: the"
        " key of the base where the config has no such dict",
    ),
    FactRow(
        "mlp.activation", "'silu' | 'gelu' | 'gelu_tanh' | 'relu' | 'relu2' | 'quick_gelu' | ...", "measured curve"
    ),
    FactRow("mlp.gated", "bool", "act(gate) * up"),
    FactRow("bias.qkv", "bool", "q, k and v projections have biases"),
    FactRow("bias.o", "bool", "the attention output projection has a bias"),
    FactRow("bias.mlp", "bool", "the MLP projections have biases"),
    FactRow("bias.head", "bool", "the head has a bias"),
    FactRow("tied_embeddings", "bool", "head and token embedding are one tensor"),
)

ROLE_NAMES = frozenset(row.name for row in ROLES)
FACT_NAMES = frozenset(row.name for row in FACTS)
