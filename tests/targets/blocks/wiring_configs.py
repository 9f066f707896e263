"""Small configs of models whose layers are wired unlike Llama's, or that end in something else than norm and head."""

from __future__ import annotations

from typing import Any


def _config(model_type: str, architecture: str, **rest: Any) -> dict[str, Any]:
    return {"vocab_size": 512, "model_type": model_type, "architectures": [architecture], **rest}


WIRINGS: dict[str, dict[str, Any]] = {
    "norms_inside": _config(
        "bitnet", "BitNetForCausalLM", hidden_size=256, intermediate_size=704, num_attention_heads=8,
        num_key_value_heads=2, num_hidden_layers=4, max_position_embeddings=128, hidden_act="relu2",
        tie_word_embeddings=False,
    ),
    "last_bias": _config(
        "gpt_neox_japanese", "GPTNeoXJapaneseForCausalLM", hidden_size=256, intermediate_multiple_size=4,
        num_attention_heads=8, num_hidden_layers=4, max_position_embeddings=128, tie_word_embeddings=False,
    ),
    "own_final_norm": _config(
        "ctrl", "CTRLLMHeadModel", n_embd=256, dff=704, n_head=8, n_layer=4, n_positions=128, tie_word_embeddings=True,
    ),
    "post_norm": _config(
        "openai-gpt", "OpenAIGPTLMHeadModel", n_embd=256, n_head=8, n_layer=4, n_positions=128, afn="gelu",
        tie_word_embeddings=True,
    ),
    "head_transform": _config(
        "modernbert-decoder", "ModernBertDecoderForCausalLM", hidden_size=256, intermediate_size=704,
        num_attention_heads=8, num_hidden_layers=5, max_position_embeddings=128, local_attention=16,
        global_attn_every_n_layers=3, pad_token_id=0, tie_word_embeddings=True,
    ),
    "key_bias": _config(
        "doge", "DogeForCausalLM", hidden_size=256, intermediate_size=704, num_attention_heads=8,
        num_key_value_heads=4, num_hidden_layers=4, max_position_embeddings=128, keep_window_size=64,
        attention_bias=True, tie_word_embeddings=False,
    ),
    "averaged_experts": _config(
        "cohere2_moe", "Cohere2MoeForCausalLM", hidden_size=256, intermediate_size=96, num_attention_heads=8,
        num_key_value_heads=2, num_hidden_layers=4, num_experts=4, num_experts_per_tok=2, num_shared_experts=2,
        max_position_embeddings=128, tie_word_embeddings=True, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    ),
    "norms_by_head": _config(
        "stablelm", "StableLmForCausalLM", hidden_size=256, intermediate_size=704, num_attention_heads=8,
        num_key_value_heads=4, num_hidden_layers=4, max_position_embeddings=128, qk_layernorm=True,
        tie_word_embeddings=False,
    ),
}  # fmt: skip
