"""Configs of mixtures of experts and of latent attention."""

from __future__ import annotations

from typing import Any

from targets.blocks.test_latent import LATENT
from targets.blocks.test_selection import CHOOSING

SIZES: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "tie_word_embeddings": False,
    "num_experts_per_tok": 4,
}


def _config(model_type: str, architecture: str, **rest: Any) -> dict[str, Any]:
    return {**SIZES, "model_type": model_type, "architectures": [architecture], **rest}


CONFIGS: dict[str, dict[str, Any]] = {
    "qwen3_moe": _config(
        "qwen3_moe", "Qwen3MoeForCausalLM", num_experts=8, moe_intermediate_size=96, mlp_only_layers=[1],
        norm_topk_prob=True,
    ),
    "qwen2_moe": _config(
        "qwen2_moe", "Qwen2MoeForCausalLM", num_experts=8, moe_intermediate_size=96, sliding_window=None,
        shared_expert_intermediate_size=160, norm_topk_prob=False,
    ),
    "glm4_moe": _config(
        "glm4_moe", "Glm4MoeForCausalLM", n_routed_experts=32, moe_intermediate_size=96, n_shared_experts=1, n_group=8,
        topk_group=2, first_k_dense_replace=1, routed_scaling_factor=2.5, norm_topk_prob=True, head_dim=32,
        pad_token_id=0,
    ),
    "one group kept": _config(
        "glm4_moe", "Glm4MoeForCausalLM", n_routed_experts=32, moe_intermediate_size=96, n_shared_experts=1, n_group=4,
        topk_group=1, first_k_dense_replace=1, routed_scaling_factor=2.5, norm_topk_prob=True, head_dim=32,
        pad_token_id=0,
    ),
    "dots1": _config(
        "dots1", "Dots1ForCausalLM", n_routed_experts=16, moe_intermediate_size=96, n_shared_experts=2, n_group=1,
        topk_group=1, first_k_dense_replace=1, norm_topk_prob=False, head_dim=32,
    ),
    "ernie4_5_moe": _config(
        "ernie4_5_moe", "Ernie4_5_MoeForCausalLM", moe_num_experts=16, moe_k=4, moe_intermediate_size=96,
        moe_num_shared_experts=2,
    ),
    "gpt_oss": _config(
        "gpt_oss", "GptOssForCausalLM", num_local_experts=8, head_dim=32, sliding_window=16, hidden_size=704,
    ),
    "phimoe": _config(
        "phimoe", "PhimoeForCausalLM", num_local_experts=8, num_experts_per_tok=2, router_jitter_noise=0.01,
    ),
    "flex_olmo": _config(
        "flex_olmo", "FlexOlmoForCausalLM", num_experts=8, norm_topk_prob=False, pad_token_id=0, eos_token_id=1,
    ),
}  # fmt: skip
"""Each is measured as it is."""

EXPERTS: dict[str, dict[str, Any]] = {
    "experts_groups_shared": CONFIGS["glm4_moe"],
    "experts_stacked_biases": CONFIGS["gpt_oss"],
    "experts_not_renormalised": CONFIGS["dots1"],
    "experts_shared_gate": CONFIGS["qwen2_moe"],
    "sparse_mixer": _config("phimoe", "PhimoeForCausalLM", num_local_experts=8, num_experts_per_tok=2),
    "latent": LATENT,
    "latent_halves_biases": {**LATENT, "rope_interleave": False, "attention_bias": True},
    "chosen_keys": CHOOSING,
}
"""Those that also run on several ranks, by what they have that matters there."""
