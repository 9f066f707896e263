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
    RoleRow("norm.pre_o", "norm on the input of the attention output projection, over all heads"),
    RoleRow("norm.pre_down", "norm on the input of the last projection of the MLP"),
    RoleRow("norm.q", "norm on queries"),
    RoleRow("norm.k", "norm on keys"),
    RoleRow("attn.q", "query projection [heads*head_dim, H]"),
    RoleRow("attn.k", "key projection [groups*head_dim, H]"),
    RoleRow("attn.v", "value projection [groups*head_dim, H]"),
    RoleRow("attn.qkv", "fused query, key, value projection; see packing"),
    RoleRow("attn.o", "output projection [H, heads*head_dim]"),
    RoleRow("attn.gate", "projection whose sigmoid gates the attention output [heads*head_dim, H]"),
    RoleRow("attn.sinks", "one learnt softmax offset a head"),
    RoleRow("mlp.gate", "gate half of a gated MLP [F, H]"),
    RoleRow("mlp.up", "up projection [F, H] (the only one when not gated)"),
    RoleRow("mlp.gate_up", "fused gate and up; see packing"),
    RoleRow("mlp.down", "down projection [H, F]"),
    RoleRow("mlp.act.alpha_p", "xIELU: slope above zero, before softplus [1]"),
    RoleRow("mlp.act.alpha_n", "xIELU: slope below zero, before softplus [1]"),
    RoleRow("mlp.act.beta", "xIELU: linear term"),
    RoleRow("mlp.act.eps", "xIELU: bound of the exponent"),
    RoleRow("moe.router", "router [E, H]"),
    RoleRow("moe.router.correction_bias", "bias used to choose experts, not to weigh them [E]"),
    RoleRow("moe.expert.gate", "gate of one expert, or stacked [E, F, H]"),
    RoleRow("moe.expert.up", "up of one expert, or stacked"),
    RoleRow("moe.expert.gate_up", "fused gate and up, per expert or stacked; see packing"),
    RoleRow("moe.expert.down", "down of one expert, or stacked"),
    RoleRow("moe.shared.gate", "gate of the shared expert"),
    RoleRow("moe.shared.up", "up of the shared expert"),
    RoleRow("moe.shared.gate_up", "fused gate and up of the shared expert; see packing"),
    RoleRow("moe.shared.down", "down of the shared expert"),
    RoleRow("moe.shared.router", "scalar gate of the shared expert [1, H]"),
    RoleRow("mla.q_a", "MLA query down projection"),
    RoleRow("mla.q_a_norm", "norm between the two MLA query projections"),
    RoleRow("mla.q_b", "MLA query up projection"),
    RoleRow("mla.kv_a", "MLA key/value down projection with the shared rope key"),
    RoleRow("mla.kv_a_norm", "norm between the two MLA key/value projections"),
    RoleRow("mla.kv_b", "MLA key/value up projection"),
    RoleRow("delta.qkv", "queries, keys and values of a gated delta net"),
    RoleRow("delta.q", "queries of a gated delta net [key_heads*key_dim, H]"),
    RoleRow("delta.k", "keys of a gated delta net [key_heads*key_dim, H]"),
    RoleRow("delta.v", "values of a gated delta net [value_heads*value_dim, H]"),
    RoleRow("delta.z", "gate on the output of a gated delta net [value_heads*value_dim, H]"),
    RoleRow("delta.b", "how much a gated delta net writes [value_heads, H]"),
    RoleRow("delta.a", "how fast a gated delta net forgets [value_heads, H]"),
    RoleRow("delta.qkvz", "queries, keys, values and gate, by key head"),
    RoleRow("delta.ba", "write strength and decay, by key head"),
    RoleRow("delta.conv", "causal convolution of queries, keys and values [channels, 1, width]"),
    RoleRow("delta.conv_q", "causal convolution of the queries"),
    RoleRow("delta.conv_k", "causal convolution of the keys"),
    RoleRow("delta.conv_v", "causal convolution of the values"),
    RoleRow("delta.A", "logarithm of the decay rate [value_heads]"),
    RoleRow("delta.step_bias", "bias of the decay [value_heads]"),
    RoleRow("delta.norm", "norm on the output of each head of a gated delta net"),
    RoleRow("delta.out", "output projection of a gated delta net [H, value_heads*value_dim]"),
    RoleRow("mamba.in", "gate, input, B, C and step of a Mamba 2 layer [2*inner + 2*groups*state + heads, H]"),
    RoleRow(
        "mamba.conv", "causal convolution of input, B and C of a Mamba 2 layer [inner + 2*groups*state, 1, width]"
    ),
    RoleRow("mamba.A", "logarithm of the decay rate of a Mamba 2 layer [heads]"),
    RoleRow("mamba.D", "how much of its input a Mamba 2 layer passes through [heads]"),
    RoleRow("mamba.step_bias", "bias of the step of a Mamba 2 layer [heads]"),
    RoleRow("mamba.norm", "gated norm of a Mamba 2 layer [inner]"),
    RoleRow("mamba.out", "output projection of a Mamba 2 layer [H, inner]"),
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
    FactRow("embedding.norm", "bool", "a norm acts on the embedding output"),
    FactRow("position.offset", "int", "number of the first absolute position: code may start at 2"),
    FactRow(
        "position.sinusoid",
        "'half:tensor2tensor' | 'interleaved:vaswani' | ...",
        "order of sines and cosines, and spacing of the frequencies, of positions that code computes",
    ),
    FactRow("logits.multiplier", "float", "factor on the logits (before any softcap)"),
    FactRow("logits.softcap", "float | None", "c in c*tanh(logits/c)"),
    FactRow("attention.scale", "float", "factor on q.k before softmax"),
    FactRow(
        "attention.temperature.beta", "float", "queries are multiplied by 1 + beta * log(1 + floor(position / length))"
    ),
    FactRow("attention.temperature.length", "int", "length in that factor"),
    FactRow("attention.softcap", "float | None", "c in c*tanh(scores/c)"),
    FactRow("attention.window", "list[int | None] per layer", "keys a query sees, itself included; None = all"),
    FactRow("attention.sinks", "bool", "one learnt number a head is one more score in the softmax, and has no value"),
    FactRow("attention.clip_qkv", "float | None", "clamp on q, k and v right after their projection"),
    FactRow("qk_norm.kind", "'none' | 'per_head' | 'full'", "norm on one head, or on all heads of q (k) together"),
    FactRow("qk_norm.norm", "'rmsnorm' | 'layernorm'", "what the q/k norm computes"),
    FactRow("qk_norm.bias", "bool", "the q/k norm has a bias"),
    FactRow("qk_norm.affine", "bool", "the q/k norm has a weight"),
    FactRow("qk_norm.after_rope", "bool", "the q/k norm acts after the rotation"),
    FactRow("qk_norm.zero_centered", "bool", "the q/k norm multiplies by 1 + weight"),
    FactRow("qk_norm.eps", "float", "epsilon of the q/k norm"),
    FactRow("position.kind", "'rope' | 'learned' | 'sinusoidal' | 'alibi' | 'none'", "how positions enter"),
    FactRow("rope.pairing", "'half' | 'interleaved'", "which dimensions rotate together"),
    FactRow("rope.reversed", "bool", "angles fall with the position"),
    FactRow("rope.dim", "int", "rotated dimensions of a head"),
    FactRow("rope.fraction", "float", "rope.dim / head_dim"),
    FactRow(
        "rope.sets",
        "list of {layers, type, theta, parameters, inv_freq, attention_factor, config_key, theta_key}",
        "distinct rotary tables and the layers that use each; layers in no set are NoPE. config_key: dotted path of"
        " the rope dict in the HF config object (`rope_parameters`, `rope_parameters.full_attention`). theta_key: the"
        " key of the base where the config has no such dict",
    ),
    FactRow("attention.selection", "bool", "which keys a query sees is computed from the tokens (sparse attention)"),
    FactRow(
        "attention.output_gate", "bool", "sigmoid of a second half of the query projection's rows gates the output"
    ),
    FactRow("mamba.layers", "list[bool] per layer", "a state space layer (Mamba 2) in the place of attention"),
    FactRow("mamba.heads", "int", "heads of a state space layer"),
    FactRow("mamba.head_dim", "int", "width of one of its heads"),
    FactRow("mamba.state_dim", "int", "state of one channel"),
    FactRow("mamba.groups", "int", "groups of heads that share B and C"),
    FactRow("mamba.conv_width", "int", "taps of its causal convolution"),
    FactRow("mamba.conv_bias", "bool", "that convolution has a bias"),
    FactRow("mamba.proj_bias", "bool", "its projections have biases"),
    FactRow("mamba.norm", "'none' | 'after_gate' | 'before_gate'", "the RMSNorm on its output, and its place"),
    FactRow("mamba.norm_groups", "'one' | 'state groups'", "whether that norm is over all channels or one group's"),
    FactRow("mamba.norm_eps", "float", "epsilon of that norm"),
    FactRow("mamba.step_limit", "[float, float | None]", "bounds of the step; None = infinity"),
    FactRow("mamba.multiplier.z", "float", "factor on the gate after the input projection"),
    FactRow("mamba.multiplier.x", "float", "factor on the input after the input projection"),
    FactRow("mamba.multiplier.B", "float", "factor on B after the input projection"),
    FactRow("mamba.multiplier.C", "float", "factor on C after the input projection"),
    FactRow("mamba.multiplier.dt", "float", "factor on the step after the input projection"),
    FactRow("mixer.layers", "list[bool] per layer", "something mixes positions; without the fact: in every layer"),
    FactRow(
        "mlp.layers", "list[bool] per layer", "an MLP or experts follow the mixer; without the fact: in every layer"
    ),
    FactRow("delta.layers", "list[bool] per layer", "a gated delta net in the place of attention"),
    FactRow("delta.key_heads", "int", "query and key heads of a gated delta net"),
    FactRow("delta.value_heads", "int", "value heads of a gated delta net, a multiple of the key heads"),
    FactRow("delta.key_dim", "int", "width of one of its query and key heads"),
    FactRow("delta.value_dim", "int", "width of one of its value heads"),
    FactRow("delta.conv_width", "int", "taps of its causal convolution"),
    FactRow("delta.write_factor", "float", "factor on the sigmoid that says how much is written"),
    FactRow("delta.norm.kind", "'rmsnorm' | 'layernorm'", "the norm on its output"),
    FactRow("delta.norm.zero_centered", "bool", "that norm multiplies by 1 + weight"),
    FactRow("delta.norm.eps", "float", "epsilon of that norm"),
    FactRow("mla.q_rank", "int | None", "rank of the query latent; None where queries have none"),
    FactRow("mla.kv_rank", "int", "rank of the latent of keys and values; a model with it has latent attention"),
    FactRow("mla.nope_dim", "int", "dimensions of a query/key head without position"),
    FactRow("mla.rope_dim", "int", "dimensions of a query/key head that rotate, after those without position"),
    FactRow("mla.value_dim", "int", "width of one value head"),
    FactRow("mla.norm.kind", "'rmsnorm' | 'layernorm'", "the norms on the latents"),
    FactRow("mla.norm.zero_centered", "bool", "the norms on the latents multiply by 1 + weight"),
    FactRow("mla.norm.eps", "float", "epsilon of the norms on the latents"),
    FactRow("mla.score_mscale", "bool", "scores have YaRN's (0.1*mscale_all_dim*ln(factor)+1)**2 too"),
    FactRow(
        "mlp.activation", "'silu' | 'gelu' | 'gelu_tanh' | 'relu' | 'relu2' | 'quick_gelu' | ...", "measured curve"
    ),
    FactRow("mlp.gated", "bool", "act(gate) * up"),
    FactRow("moe.layers", "list[bool] per layer", "the layer has experts instead of one MLP"),
    FactRow("moe.num_experts", "int", "routed experts of a layer"),
    FactRow("moe.top_k", "int", "experts that a token goes to"),
    FactRow("moe.ffn_hidden_size", "int", "width of one routed expert"),
    FactRow(
        "moe.score",
        "'softmax' | 'sigmoid' | 'sqrtsoftplus' | 'sparsemixer'",
        "router logits to scores, over all experts; sparsemixer: one expert after the other",
    ),
    FactRow("moe.margin", "float", "sparse mixer: how far below the best an expert is weighed with it"),
    FactRow("moe.renormalise", "bool", "the scores of the chosen experts are divided by their sum"),
    FactRow("moe.scale", "float", "factor on the routed experts' weights"),
    FactRow("moe.groups", "int", "groups of experts of which a token uses a few; 1 = no groups"),
    FactRow("moe.groups_kept", "int", "groups that a token may use"),
    FactRow("moe.group_score", "'top2' | 'max' | None", "what a group is worth: its best two scores, or its best"),
    FactRow("moe.correction_bias", "bool", "one bias an expert is added to the scores for the choice alone"),
    FactRow("moe.router_fp32", "bool", "router logits are computed in float32 whatever the model's dtype"),
    FactRow("moe.router_bias", "bool", "the router's linear has a bias"),
    FactRow("moe.shared_width", "int", "width of the expert that every token goes through; 0 = none"),
    FactRow("moe.shared_gate", "bool", "the shared expert is multiplied by the sigmoid of one linear"),
    FactRow("moe.expert_bias", "bool", "the experts' projections have biases"),
    FactRow("moe.clamp", "float | None", "c: gate <= c, -c <= up <= c before the activation"),
    FactRow("moe.up_offset", "float", "what is added to the up half: act(gate) * (up + offset)"),
    FactRow("moe.weights_on_input", "bool", "the router's weight multiplies an expert's input, not its output"),
    FactRow("bias.qkv", "bool", "q, k and v projections have biases"),
    FactRow("bias.o", "bool", "the attention output projection has a bias"),
    FactRow("bias.mlp", "bool", "the MLP projections have biases"),
    FactRow("bias.head", "bool", "the head has a bias"),
    FactRow("tied_embeddings", "bool", "head and token embedding are one tensor"),
)

ROLE_NAMES = frozenset(row.name for row in ROLES)
FACT_NAMES = frozenset(row.name for row in FACTS)
