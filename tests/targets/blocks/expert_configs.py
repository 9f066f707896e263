"""Configs of mixtures of experts and of latent attention, for runs on several ranks."""

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


EXPERTS: dict[str, dict[str, Any]] = {
    "experts_groups_shared": _config(
        "glm4_moe", "Glm4MoeForCausalLM", n_routed_experts=32, moe_intermediate_size=96, n_shared_experts=1, n_group=8,
        topk_group=2, first_k_dense_replace=1, routed_scaling_factor=2.5, norm_topk_prob=True, head_dim=32,
        pad_token_id=0,
    ),
    "experts_stacked_biases": _config(
        "gpt_oss", "GptOssForCausalLM", num_local_experts=8, head_dim=32, sliding_window=16, hidden_size=704,
    ),
    "experts_not_renormalised": _config(
        "dots1", "Dots1ForCausalLM", n_routed_experts=16, moe_intermediate_size=96, n_shared_experts=2, n_group=1,
        topk_group=1, first_k_dense_replace=1, norm_topk_prob=False, head_dim=32,
    ),
    "experts_shared_gate": _config(
        "qwen2_moe", "Qwen2MoeForCausalLM", num_experts=8, moe_intermediate_size=96, sliding_window=None,
        shared_expert_intermediate_size=160, norm_topk_prob=False,
    ),
    "sparse_mixer": _config("phimoe", "PhimoeForCausalLM", num_local_experts=8, num_experts_per_tok=2),
    "latent": LATENT,
    "latent_halves_biases": {**LATENT, "rope_interleave": False, "attention_bias": True},
    "chosen_keys": CHOOSING,
}  # fmt: skip
