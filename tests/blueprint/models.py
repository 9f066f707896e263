"""Small configs of real architectures, and what a blueprint must say of each: values and expressions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

BASE: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "max_position_embeddings": 1024,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 7.0,
    "low_freq_factor": 1.5,
    "high_freq_factor": 3.5,
    "original_max_position_embeddings": 512,
}


@dataclass(frozen=True)
class Claim:
    """One architecture and what must come out."""

    name: str
    architecture: str
    config: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)
    expressions: dict[str, str] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    """Role to pattern, for those worth a claim."""
    packing: dict[str, str] = field(default_factory=dict)
    rope: list[tuple[str, float, str | None]] = field(default_factory=list)
    """(type, theta, config key) of each rotary table."""

    def full_config(self) -> dict[str, Any]:
        """config.json."""
        return {**BASE, **self.config, "architectures": [self.architecture]}


def claim(name: str, architecture: str, model_type: str, /, **config: Any) -> Claim:
    """A claim with its config; facts are added with `says`."""
    return Claim(name, architecture, {"model_type": model_type, **config})


def says(one: Claim, /, **rest: Any) -> Claim:
    """The claim with what must come out."""
    return Claim(one.name, one.architecture, one.config, **rest)


PLAIN = {
    "norm.kind": "rmsnorm",
    "norm.zero_centered": False,
    "mlp.activation": "silu",
    "mlp.gated": True,
    "bias.qkv": False,
    "bias.o": False,
    "residual.parallel": False,
    "rope.pairing": "half",
    "embedding.multiplier": 1.0,
    "attention.softcap": None,
    "qk_norm.kind": "none",
}
QUOTIENT = "hidden_size * num_attention_heads**-1"
CLAIMS: tuple[Claim, ...] = (
    says(
        claim("llama", "LlamaForCausalLM", "llama", rms_norm_eps=1e-5, head_dim=48),
        facts={**PLAIN, "norm.eps": 1e-5, "head_dim": 48, "num_query_groups": 2, "attention.scale": 48**-0.5},
        expressions={"norm.eps": "rms_norm_eps", "attention.scale": "head_dim**-0.5", "bias.qkv": "attention_bias"},
        roles={"norm.pre_mlp": "model.layers.*.post_attention_layernorm.weight", "head": "lm_head.weight"},
        rope=[("default", 10000.0, "rope_parameters")],
    ),
    says(
        claim(
            "llama3 rope", "LlamaForCausalLM", "llama", attention_bias=True, mlp_bias=True, rope_scaling=LLAMA3
        ),
        facts={"bias.qkv": True, "bias.o": True, "bias.mlp": True},
        expressions={"bias.mlp": "mlp_bias", "bias.o": "attention_bias"},
        rope=[("llama3", 10000.0, "rope_parameters")],
    ),
    says(
        claim("linear rope", "LlamaForCausalLM", "llama", rope_scaling={"rope_type": "linear", "factor": 4.0}),
        rope=[("linear", 10000.0, "rope_parameters")],
    ),
    says(
        claim("mistral", "MistralForCausalLM", "mistral", sliding_window=128, head_dim=None),
        facts={**PLAIN, "attention.window": [128] * 6},
        expressions={"attention.window": "sliding_window"},
    ),
    says(
        claim("mistral without window", "MistralForCausalLM", "mistral", sliding_window=None),
        facts={"attention.window": [None] * 6},
    ),
    says(
        claim(
            "qwen2", "Qwen2ForCausalLM", "qwen2", use_sliding_window=True, sliding_window=64, max_window_layers=4
        ),
        facts={**PLAIN, "bias.qkv": True, "head_dim": 32, "attention.window": [None] * 4 + [64] * 2},
        expressions={"head_dim": QUOTIENT, "attention.scale": "hidden_size**-0.5 * num_attention_heads**0.5"},
    ),
    says(
        claim("qwen3", "Qwen3ForCausalLM", "qwen3", head_dim=64),
        facts={**PLAIN, "qk_norm.kind": "per_head", "qk_norm.after_rope": False, "tied_embeddings": False},
        expressions={"qk_norm.eps": "rms_norm_eps"},
        roles={"norm.q": "model.layers.*.self_attn.q_norm.weight"},
    ),
    says(
        claim("qwen3 tied", "Qwen3ForCausalLM", "qwen3", head_dim=64, tie_word_embeddings=True),
        facts={"tied_embeddings": True},
        expressions={"tied_embeddings": "tie_word_embeddings"},
    ),
    says(
        claim("gemma", "GemmaForCausalLM", "gemma", head_dim=64, hidden_act="gelu", tie_word_embeddings=True),
        facts={"norm.zero_centered": True, "embedding.multiplier": 16.0, "tied_embeddings": True},
        expressions={"embedding.multiplier": "hidden_size**0.5"},
    ),
    says(
        claim(
            "gemma2", "Gemma2ForCausalLM", "gemma2", head_dim=64, query_pre_attn_scalar=144, sliding_window=128,
            final_logit_softcapping=30.0, attn_logit_softcapping=50.0, tie_word_embeddings=True,
        ),
        facts={
            "attention.scale": 1 / 12, "attention.softcap": 50.0, "logits.softcap": 30.0,
            "attention.window": [128, None] * 3, "mlp.activation": "gelu_tanh", "norm.zero_centered": True,
        },
        expressions={"attention.scale": "query_pre_attn_scalar**-0.5", "logits.softcap": "final_logit_softcapping"},
        roles={
            "norm.post_attn": "model.layers.*.post_attention_layernorm.weight",
            "norm.pre_mlp": "model.layers.*.pre_feedforward_layernorm.weight",
        },
    ),
    says(
        claim(
            "gemma3", "Gemma3ForCausalLM", "gemma3_text", num_hidden_layers=8, head_dim=64, query_pre_attn_scalar=144,
            sliding_window=128, rope_theta=1000000.0, rope_local_base_freq=10000.0, tie_word_embeddings=True,
            rope_scaling={"rope_type": "linear", "factor": 8.0},
        ),
        facts={"attention.window": [128] * 5 + [None] + [128] * 2, "qk_norm.kind": "per_head"},
        rope=[
            ("default", 10000.0, "rope_parameters.sliding_attention"),
            ("linear", 1000000.0, "rope_parameters.full_attention"),
        ],
    ),
    says(
        claim("nemotron", "NemotronForCausalLM", "nemotron", head_dim=64, partial_rotary_factor=0.5, norm_eps=1e-5),
        facts={
            "norm.kind": "layernorm", "norm.zero_centered": True, "mlp.activation": "relu2", "mlp.gated": False,
            "rope.dim": 32, "norm.bias": True, "norm.eps": 1e-5,
        },
        expressions={"norm.eps": "norm_eps"},
    ),
    says(
        claim("starcoder2", "Starcoder2ForCausalLM", "starcoder2", use_bias=True, sliding_window=64),
        facts={
            "norm.kind": "layernorm", "bias.qkv": True, "bias.mlp": True, "mlp.gated": False,
            "mlp.activation": "gelu_tanh", "attention.window": [64] * 6,
        },
        expressions={"norm.eps": "norm_epsilon", "bias.mlp": "use_bias"},
    ),
    says(
        claim(
            "granite", "GraniteForCausalLM", "granite", embedding_multiplier=12.0, residual_multiplier=0.22,
            attention_multiplier=0.0078125, logits_scaling=8.0,
        ),
        facts={
            "embedding.multiplier": 12.0, "residual.multiplier": 0.22, "attention.scale": 0.0078125,
            "logits.multiplier": 0.125,
        },
        expressions={
            "logits.multiplier": "logits_scaling**-1", "attention.scale": "attention_multiplier",
            "residual.multiplier": "residual_multiplier",
        },
    ),
    says(
        claim("olmo2", "Olmo2ForCausalLM", "olmo2"),
        facts={"qk_norm.kind": "full", "qk_norm.after_rope": False},
        roles={
            "norm.post_attn": "model.layers.*.post_attention_layernorm.weight",
            "norm.post_mlp": "model.layers.*.post_feedforward_layernorm.weight",
        },
    ),
    says(
        claim("cohere", "CohereForCausalLM", "cohere", logit_scale=0.0625, tie_word_embeddings=True),
        facts={"residual.parallel": True, "rope.pairing": "interleaved", "logits.multiplier": 0.0625},
        expressions={"logits.multiplier": "logit_scale"},
    ),
    says(
        claim("gpt_neox", "GPTNeoXForCausalLM", "gpt_neox", rotary_pct=0.25, use_parallel_residual=True),
        facts={"residual.parallel": True, "rope.dim": 8, "num_query_groups": 8, "mlp.activation": "gelu"},
        expressions={"residual.parallel": "use_parallel_residual"},
        packing={"attn.qkv": "per_head:q,k,v"},
    ),
    says(
        claim("phi3", "Phi3ForCausalLM", "phi3", pad_token_id=0),
        packing={"attn.qkv": "concat:q,k,v", "mlp.gate_up": "concat:gate,up"},
    ),
    says(
        claim(
            "smollm3", "SmolLM3ForCausalLM", "smollm3",
            num_hidden_layers=8, no_rope_layer_interval=4, pad_token_id=0,
        ),
        facts={"rope.layers": [[0, 1, 2, 4, 5, 6]]},
    ),
    says(
        claim("stablelm", "StableLmForCausalLM", "stablelm", partial_rotary_factor=0.25, use_parallel_residual=False),
        facts={"norm.kind": "layernorm", "rope.dim": 8, "residual.parallel": False},
        expressions={"residual.parallel": "use_parallel_residual", "bias.qkv": "use_qkv_bias"},
    ),
    says(
        claim("hunyuan", "HunYuanDenseV1ForCausalLM", "hunyuan_v1_dense", head_dim=64),
        facts={"qk_norm.kind": "per_head", "qk_norm.after_rope": True},
    ),
    says(
        claim("bloom", "BloomForCausalLM", "bloom", n_head=8, n_layer=6, tie_word_embeddings=True),
        facts={"position.kind": "alibi", "mlp.activation": "gelu_tanh", "ffn_hidden_size": 1024},
        expressions={"ffn_hidden_size": "4 * hidden_size"},
        roles={"norm.embed": "transformer.word_embeddings_layernorm.weight"},
        packing={"attn.qkv": "per_head:q,k,v"},
    ),
    says(
        claim("falcon", "FalconForCausalLM", "falcon", multi_query=True, parallel_attn=True, alibi=False),
        facts={"num_query_groups": 1, "residual.parallel": True, "mlp.activation": "gelu"},
        packing={"attn.qkv": "concat:q,k,v"},
    ),
    says(
        claim("olmo", "OlmoForCausalLM", "olmo", clip_qkv=8.0),
        facts={"norm.affine": False, "norm.kind": "layernorm", "attention.clip_qkv": 8.0},
        expressions={"attention.clip_qkv": "clip_qkv"},
    ),
)  # fmt: skip
