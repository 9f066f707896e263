"""Configs of attentions and MLPs that megatron-core does not have: chunks, gates by head, a curve with a number."""

from __future__ import annotations

from typing import Any

CHUNKED: dict[str, Any] = {
    "architectures": ["Llama4ForCausalLM"],
    "model_type": "llama4_text",
    "num_hidden_layers": 8,
    "no_rope_layers": [1, 1, 1, 0] * 2,
    "layer_types": (["chunked_attention"] * 3 + ["full_attention"]) * 2,
    "moe_layers": [1, 3, 5, 7],
    "attention_chunk_size": 2048,
}
GATED: dict[str, Any] = {
    "architectures": ["LagunaForCausalLM"],
    "model_type": "laguna",
    "num_hidden_layers": 4,
    "num_attention_heads": 48,
    "num_attention_heads_per_layer": [48] * 4,
}
SWISH: dict[str, Any] = {
    "architectures": ["MiniMaxM3VLForCausalLM"],
    "model_type": "minimax_m3_vl_text",
    "num_hidden_layers": 4,
    "mlp_layer_types": ["dense", "sparse"] * 2,
    "layer_types": ["full_attention"] * 4,
}
DIFFERENTIAL: dict[str, Any] = {
    "architectures": ["DiffLlamaForCausalLM"],
    "model_type": "diffllama",
    "num_hidden_layers": 4,
    "attention_bias": True,
}
ATTENTIONS: dict[str, dict[str, Any]] = {
    "chunked": CHUNKED,
    "head_gate": GATED,
    "swish": SWISH,
    "differential": DIFFERENTIAL,
}
