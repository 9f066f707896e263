"""Published-like configs of model types that ROLL has templates for; toys are made of them."""

from __future__ import annotations

from typing import Any

DENSE: dict[str, Any] = {
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 12,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "vocab_size": 32000,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}
EXPERTS: dict[str, Any] = {**DENSE, "num_experts": 64, "num_experts_per_tok": 8, "moe_intermediate_size": 768}


def _config(model_type: str, architecture: str, base: dict[str, Any], **own: Any) -> dict[str, Any]:
    return {**base, "model_type": model_type, "architectures": [architecture], **own}


LATENT = {
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "num_key_value_heads": 16,
}
ROUTED = {
    "n_routed_experts": 64,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 768,
    "first_k_dense_replace": 1,
    "n_group": 8,
    "topk_group": 4,
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": _config("llama", "LlamaForCausalLM", DENSE),
    "qwen2": _config("qwen2", "Qwen2ForCausalLM", DENSE),
    "qwen3": _config("qwen3", "Qwen3ForCausalLM", DENSE, head_dim=128, attention_bias=False),
    "mistral": _config("mistral", "MistralForCausalLM", DENSE, sliding_window=None),
    "seed_oss": _config(
        "seed_oss", "SeedOssForCausalLM", DENSE, head_dim=128, attention_bias=True, attention_out_bias=False
    ),
    "qwen3_moe": _config(
        "qwen3_moe", "Qwen3MoeForCausalLM", EXPERTS, head_dim=128, norm_topk_prob=True, decoder_sparse_step=1
    ),
    "qwen2_moe": _config(
        "qwen2_moe", "Qwen2MoeForCausalLM", EXPERTS, shared_expert_intermediate_size=2048, norm_topk_prob=False
    ),
    "mixtral": _config(
        "mixtral",
        "MixtralForCausalLM",
        DENSE,
        num_local_experts=8,
        num_experts_per_tok=2,
        sliding_window=None,
    ),
    "deepseek_v3": _config(
        "deepseek_v3", "DeepseekV3ForCausalLM", {**DENSE, **LATENT, **ROUTED}, scoring_func="sigmoid"
    ),
    "glm4_moe": _config(
        "glm4_moe",
        "Glm4MoeForCausalLM",
        {**DENSE, **ROUTED},
        head_dim=128,
        n_group=1,
        topk_group=1,
        partial_rotary_factor=0.5,
        attention_bias=True,
        use_qk_norm=False,
    ),
    "qwen3_next": _config(
        "qwen3_next",
        "Qwen3NextForCausalLM",
        EXPERTS,
        head_dim=128,
        shared_expert_intermediate_size=512,
        norm_topk_prob=True,
        linear_num_key_heads=16,
        linear_num_value_heads=32,
        linear_key_head_dim=128,
        linear_value_head_dim=128,
        linear_conv_kernel_dim=4,
    ),
}


def config_of(model_type: str, **changes: Any) -> dict[str, Any]:
    """The config of a type, with some keys changed; `...` takes one out."""
    whole = {**CONFIGS[model_type], **changes}
    return {key: value for key, value in whole.items() if value is not ...}
