"""Attributes of providers that rules for dense models emit."""

from __future__ import annotations

DENSE = (
    "normalization",
    "layernorm_zero_centered_gamma",
    "layernorm_epsilon",
    "softmax_scale",
    "window_size",
    "window_attn_skip_freq",
    "qk_layernorm",
    "position_embedding_type",
    "rotary_interleaved",
    "rotary_percent",
    "rotary_base",
    "seq_len_interpolation_factor",
    "rope_scaling",
    "rope_scaling_factor",
    "no_rope_freq",
    "activation_func",
    "gated_linear_unit",
    "add_bias_linear",
    "add_qkv_bias",
    "share_embeddings_and_output_weights",
)
