"""How each measured fact becomes a Fact: its type, and the config keys that usually hold it, as hints only.

A hint never decides: it breaks ties between keys of equal value, and gives a declared value when nothing was measured.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

Kind = Literal["int", "float", "flag", "word", "layers"]


class FactRule(NamedTuple):
    """One row for each fact that the probe measures directly."""

    name: str
    kind: Kind
    hints: tuple[str, ...] = ()
    assumed: Any = None
    """The field's common default, for a blueprint without a probe."""


OWN = ("selective", "short_conv")
"""Mixers that megatron-core has no module for: beginnings of the names of their facts and roles."""
SIZES = ("hidden_size", "n_embd", "d_model", "dim")
RULES: tuple[FactRule, ...] = (
    FactRule("num_layers", "int", ("num_hidden_layers", "n_layer", "num_layers", "n_layers")),
    FactRule("hidden_size", "int", SIZES),
    FactRule("vocab_size", "int", ("vocab_size",)),
    FactRule("num_attention_heads", "int", ("num_attention_heads", "n_head", "n_heads", "num_heads")),
    FactRule("num_query_groups", "int", ("num_key_value_heads", "num_kv_heads", "n_head_kv", "kv_heads")),
    FactRule("head_dim", "int", ("head_dim",)),
    FactRule("ffn_hidden_size", "int", ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size")),
    FactRule("norm.kind", "word", (), "rmsnorm"),
    FactRule("norm.zero_centered", "flag", (), False),
    FactRule(
        "norm.eps", "float", ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps"), 1e-5
    ),
    FactRule("norm.bias", "flag", (), False),
    FactRule("norm.affine", "flag", (), True),
    FactRule("residual.parallel", "flag", ("use_parallel_residual", "parallel_attn"), False),
    FactRule("residual.multiplier", "float", ("residual_multiplier",), 1.0),
    FactRule("embedding.norm", "flag", (), False),
    FactRule("embedding.multiplier", "float", ("embedding_multiplier",), 1.0),
    FactRule("position.offset", "int", ()),
    FactRule("position.sinusoid", "word"),
    FactRule("logits.multiplier", "float", ("logit_scale",), 1.0),
    FactRule("logits.softcap", "float", ("final_logit_softcapping",)),
    FactRule("attention.scale", "float", ("attention_multiplier",)),
    FactRule("attention.temperature.beta", "float", ("rope_parameters.llama_4_scaling_beta",)),
    FactRule("attention.temperature.length", "int", ("rope_parameters.original_max_position_embeddings",)),
    FactRule("attention.temperature.offset", "int"),
    FactRule("attention.temperature.layers", "layers"),
    FactRule("attention.chunk", "layers", ("attention_chunk_size",)),
    FactRule("attention.softcap", "float", ("attn_logit_softcapping",)),
    FactRule("attention.window", "layers", ("sliding_window",)),
    FactRule("attention.sinks", "flag", (), False),
    FactRule("attention.clip_qkv", "float", ("clip_qkv",)),
    FactRule("qk_norm.kind", "word", (), "none"),
    FactRule("qk_norm.norm", "word"),
    FactRule("qk_norm.bias", "flag"),
    FactRule("qk_norm.affine", "flag"),
    FactRule("qk_norm.after_rope", "flag"),
    FactRule("qk_norm.layers", "layers"),
    FactRule("qk_norm.zero_centered", "flag"),
    FactRule("qk_norm.eps", "float", ("rms_norm_eps", "layer_norm_eps", "norm_eps")),
    FactRule("attention.selection", "flag"),
    FactRule("attention.output_gate", "flag", (), False),
    FactRule("mamba.layers", "layers", ("layer_types", "layers_block_type")),
    FactRule("mamba.heads", "int", ("mamba_num_heads", "mamba_n_heads", "n_mamba_heads", "num_heads")),
    FactRule("mamba.head_dim", "int", ("mamba_head_dim", "mamba_d_head", "mamba_headdim", "head_dim")),
    FactRule("mamba.state_dim", "int", ("ssm_state_size", "mamba_d_state", "state_size")),
    FactRule("mamba.groups", "int", ("n_groups", "mamba_n_groups", "mamba_ngroups")),
    FactRule("mamba.conv_width", "int", ("conv_kernel", "mamba_d_conv")),
    FactRule("mamba.conv_bias", "flag", ("use_conv_bias", "mamba_conv_bias")),
    FactRule("mamba.proj_bias", "flag", ("mamba_proj_bias", "use_bias")),
    FactRule("mamba.norm", "word"),
    FactRule("mamba.norm_groups", "word"),
    FactRule("mamba.norm_eps", "float", ("rms_norm_eps", "layer_norm_epsilon")),
    FactRule("mamba.step_limit", "word"),
    FactRule("mamba.multiplier.z", "float"),
    FactRule("mamba.multiplier.x", "float"),
    FactRule("mamba.multiplier.B", "float"),
    FactRule("mamba.multiplier.C", "float"),
    FactRule("mamba.multiplier.dt", "float"),
    FactRule("selective.layers", "layers", ("layer_types", "layers_block_type")),
    FactRule("selective.inner", "int", ("intermediate_size",)),
    FactRule("selective.state_dim", "int", ("state_size", "mamba_d_state")),
    FactRule("selective.rank", "int", ("time_step_rank", "mamba_dt_rank")),
    FactRule("selective.conv_width", "int", ("conv_kernel", "mamba_d_conv")),
    FactRule("selective.conv_bias", "flag", ("use_conv_bias", "mamba_conv_bias")),
    FactRule("selective.proj_bias", "flag", ("use_bias", "mamba_proj_bias")),
    FactRule("selective.gate_first", "flag"),
    FactRule("selective.norm", "word"),
    FactRule("selective.norm_eps", "float", ("mixer_rms_eps", "rms_norm_eps")),
    FactRule("short_conv.layers", "layers", ("layer_types",)),
    FactRule("short_conv.channels", "int", SIZES),
    FactRule("short_conv.conv_width", "int", ("conv_L_cache",)),
    FactRule("short_conv.bias", "flag", ("conv_bias",)),
    FactRule("short_conv.gate_place", "int"),
    FactRule("mlp.layers", "layers", ("layers_block_type",)),
    FactRule("mixer.layers", "layers", ("layers_block_type",)),
    FactRule("delta.layers", "layers", ("layer_types",)),
    FactRule("delta.key_heads", "int", ("linear_num_key_heads",)),
    FactRule("delta.value_heads", "int", ("linear_num_value_heads",)),
    FactRule("delta.key_dim", "int", ("linear_key_head_dim",)),
    FactRule("delta.value_dim", "int", ("linear_value_head_dim",)),
    FactRule("delta.conv_width", "int", ("linear_conv_kernel_dim",)),
    FactRule("delta.write_factor", "float"),
    FactRule("delta.norm.kind", "word"),
    FactRule("delta.norm.zero_centered", "flag"),
    FactRule("delta.norm.eps", "float"),
    FactRule("mla.q_rank", "int", ("q_lora_rank",)),
    FactRule("mla.kv_rank", "int", ("kv_lora_rank",)),
    FactRule("mla.nope_dim", "int", ("qk_nope_head_dim",)),
    FactRule("mla.rope_dim", "int", ("qk_rope_head_dim",)),
    FactRule("mla.value_dim", "int", ("v_head_dim",)),
    FactRule("mla.norm.kind", "word"),
    FactRule("mla.norm.zero_centered", "flag"),
    FactRule("mla.norm.eps", "float"),
    FactRule("moe.num_experts", "int", ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")),
    FactRule("moe.top_k", "int", ("num_experts_per_tok", "moe_topk", "moe_k", "experts_per_token", "top_k_experts")),
    FactRule("moe.ffn_hidden_size", "int", ("moe_intermediate_size", "expert_ffn_hidden_size", "intermediate_size")),
    FactRule("moe.score", "word"),
    FactRule("moe.margin", "float", ("router_jitter_noise",)),
    FactRule("moe.renormalise", "flag", ("norm_topk_prob",)),
    FactRule("moe.scale", "float", ("routed_scaling_factor", "route_scale", "moe_router_scaling_factor")),
    FactRule("moe.groups", "int", ("n_group", "n_expert_groups")),
    FactRule("moe.groups_kept", "int", ("topk_group",)),
    FactRule("moe.group_score", "word"),
    FactRule("moe.correction_bias", "flag"),
    FactRule("moe.router_fp32", "flag"),
    FactRule("moe.router_bias", "flag"),
    FactRule("moe.shared_width", "int", ("shared_expert_intermediate_size", "shared_intermediate_size")),
    FactRule("moe.shared_gate", "flag"),
    FactRule("moe.expert_bias", "flag"),
    FactRule("moe.clamp", "float", ("swiglu_limit",)),
    FactRule("moe.up_offset", "float"),
    FactRule("moe.weights_on_input", "flag"),
    FactRule(
        "mlp.activation",
        "word",
        ("hidden_act", "hidden_activation", "activation_function", "activation", "mlp_hidden_act"),
        "silu",
    ),
    FactRule("mlp.gated", "flag", (), True),
    FactRule("bias.qkv", "flag", ("attention_bias", "use_qkv_bias", "use_bias", "qkv_bias"), False),
    FactRule("bias.o", "flag", ("attention_bias", "use_bias"), False),
    FactRule("bias.mlp", "flag", ("mlp_bias", "use_bias"), False),
    FactRule("bias.head", "flag", ("lm_head_bias",), False),
    FactRule("tied_embeddings", "flag", ("tie_word_embeddings",), False),
)

CURVES: dict[str, str] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu2",
    "quick_gelu": "quick_gelu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "mish": "mish",
}
"""Activation names of configs (transformers' ACT2FN) and the curve that they promise."""
