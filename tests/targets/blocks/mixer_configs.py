"""Configs of models whose layers mix positions with something that megatron-core has no module for."""

from __future__ import annotations

from typing import Any

SIZES: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}
SELECTIVE: dict[str, Any] = {
    **SIZES,
    "architectures": ["JambaForCausalLM"],
    "model_type": "jamba",
    "num_hidden_layers": 4,
    "attn_layer_period": 2,
    "attn_layer_offset": 1,
    "num_experts": 1,
    "num_experts_per_tok": 1,
    "mamba_d_state": 24,
    "mamba_dt_rank": 20,
}
BARE_NORMS: dict[str, Any] = {
    "architectures": ["FalconMambaForCausalLM"],
    "model_type": "falcon_mamba",
    "vocab_size": 512,
    "hidden_size": 256,
    "num_hidden_layers": 3,
    "state_size": 24,
    "time_step_rank": 20,
    "use_bias": True,
    "tie_word_embeddings": False,
}
SHORT_CONV: dict[str, Any] = {
    **SIZES,
    "architectures": ["Lfm2ForCausalLM"],
    "model_type": "lfm2",
    "num_hidden_layers": 4,
    "layer_types": ["conv", "full_attention", "conv", "conv"],
    "conv_bias": True,
    "block_auto_adjust_ff_dim": False,
}
LRU: dict[str, Any] = {
    **SIZES,
    "architectures": ["RecurrentGemmaForCausalLM"],
    "model_type": "recurrent_gemma",
    "num_hidden_layers": 4,
    "head_dim": 32,
    "lru_width": 320,
    "block_types": ["recurrent", "attention"],
    "attention_window_size": 64,
}
LIGHTNING: dict[str, Any] = {
    **SIZES,
    "architectures": ["MiniMaxForCausalLM"],
    "model_type": "minimax",
    "num_hidden_layers": 4,
    "layer_types": ["linear_attention", "full_attention"] * 2,
    "num_local_experts": 4,
    "block_size": 64,
    "full_attn_alpha_factor": 3.5,
    "mlp_beta_factor": 0.5,
}
DELTA: dict[str, Any] = {
    **SIZES,
    "architectures": ["OlmoHybridForCausalLM"],
    "model_type": "olmo_hybrid",
    "num_hidden_layers": 4,
    "layer_types": ["linear_attention", "full_attention"] * 2,
    "linear_num_key_heads": 4,
    "linear_num_value_heads": 8,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 48,
}
SIDE_BY_SIDE: dict[str, Any] = {
    **SIZES,
    "architectures": ["FalconH1ForCausalLM"],
    "model_type": "falcon_h1",
    "num_hidden_layers": 2,
    "mamba_d_ssm": 256,
    "mamba_n_heads": 8,
    "mamba_d_head": 32,
    "mamba_n_groups": 2,
    "mamba_d_state": 24,
    "mamba_rms_norm": True,
    "mamba_norm_before_gate": False,
    "embedding_multiplier": 5.656854249492381,
    "lm_head_multiplier": 0.01953125,
    "key_multiplier": 0.39,
    "attention_in_multiplier": 0.85,
    "attention_out_multiplier": 0.9375,
    "ssm_in_multiplier": 1.25,
    "ssm_out_multiplier": 0.236,
    "ssm_multipliers": [0.354, 0.25, 0.177, 0.5, 0.336],
    "mlp_multipliers": [0.884, 0.589],
}
MIXERS: dict[str, dict[str, Any]] = {
    "delta": DELTA,
    "lightning": LIGHTNING,
    "lru": LRU,
    "selective": SELECTIVE,
    "selective_bare_norms": BARE_NORMS,
    "short_conv": SHORT_CONV,
    "side_by_side": SIDE_BY_SIDE,
}
