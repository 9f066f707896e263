"""Mistakes in integrations that we generate: experts, latent attention, windows, softcaps, multipliers, sinks.

Each is a package that subclasses the generated bridge, as those of `mutants.py` subclass Megatron-Bridge's own.
"""

from __future__ import annotations

from typing import Any

from mutants import Base, Mutant

_BODY: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "num_hidden_layers": 8,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "gemma2": _BODY
    | {"architectures": ["Gemma2ForCausalLM"], "head_dim": 128, "sliding_window": 1024, "tie_word_embeddings": True}
    | {"query_pre_attn_scalar": 144, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    "granite": _BODY
    | {"architectures": ["GraniteForCausalLM"], "embedding_multiplier": 12.0, "logits_scaling": 8.0}
    | {"residual_multiplier": 0.22, "attention_multiplier": 0.0156},
    "cohere": _BODY | {"architectures": ["CohereForCausalLM"], "logit_scale": 0.0625},
    "olmo2": _BODY | {"architectures": ["Olmo2ForCausalLM"]},
    "gpt2": {"architectures": ["GPT2LMHeadModel"], "n_embd": 768, "n_head": 12, "n_layer": 6, "vocab_size": 50257}
    | {"n_positions": 1024},
    "gpt_oss": _BODY
    | {"architectures": ["GptOssForCausalLM"], "head_dim": 64, "num_local_experts": 32, "num_experts_per_tok": 4}
    | {"intermediate_size": 2880, "sliding_window": 128},
    "qwen2_moe": _BODY
    | {"architectures": ["Qwen2MoeForCausalLM"], "num_experts": 60, "num_experts_per_tok": 4, "norm_topk_prob": False}
    | {"moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632},
    "glm4_moe": _BODY
    | {"architectures": ["Glm4MoeForCausalLM"], "n_routed_experts": 128, "num_experts_per_tok": 8, "head_dim": 128}
    | {"moe_intermediate_size": 1408, "n_shared_experts": 1, "first_k_dense_replace": 1, "norm_topk_prob": True}
    | {"routed_scaling_factor": 2.5, "partial_rotary_factor": 0.5, "use_qk_norm": True, "attention_bias": True},
    "deepseek_v3": _BODY
    | {"architectures": ["DeepseekV3ForCausalLM"], "q_lora_rank": 768, "kv_lora_rank": 512, "qk_nope_head_dim": 128}
    | {"qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 64, "num_experts_per_tok": 8, "n_group": 8}
    | {"topk_group": 4, "moe_intermediate_size": 1408, "n_shared_experts": 2, "first_k_dense_replace": 1}
    | {"routed_scaling_factor": 2.5, "num_key_value_heads": 16, "rope_theta": 10000}
    | {
        "rope_scaling": {
            "type": "yarn",
            "factor": 40,
            "original_max_position_embeddings": 4096,
            "beta_fast": 32,
            "beta_slow": 1,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
        }
    },
}
"""The model that each integration is generated for; `model_type` is the key."""

CONTROLS: dict[str, dict[str, Any]] = {
    "bamba": _BODY
    | {"architectures": ["BambaForCausalLM"], "mamba_n_heads": 32, "mamba_d_head": 64, "mamba_n_groups": 1}
    | {"mamba_d_state": 64, "mamba_expand": 2, "attn_layer_indices": [2, 5]},
    "qwen3_next": _BODY
    | {"architectures": ["Qwen3NextForCausalLM"], "head_dim": 128, "num_experts": 32, "num_experts_per_tok": 4}
    | {"moe_intermediate_size": 512, "shared_expert_intermediate_size": 512, "partial_rotary_factor": 0.25}
    | {"linear_num_key_heads": 4, "linear_num_value_heads": 8, "linear_key_head_dim": 64, "linear_value_head_dim": 64},
}
"""Hybrids, generated as well and held to be right under every seed: Mamba 2, and gated delta nets with experts."""


def base(model_type: str) -> Base:
    """The generated bridge of a model type."""
    architecture = (CONFIGS | CONTROLS)[model_type]["architectures"][0]
    for ending in ("ForCausalLM", "LMHeadModel"):
        prefix = architecture.removesuffix(ending)
        if prefix != architecture:
            return Base(f"scaffold_{model_type}.{model_type}_bridge", f"{prefix}Bridge", architecture)
    raise ValueError(architecture)


def _of(model_type: str, *mutants: tuple[str, str, str] | tuple[str, str, str, dict[str, Any]]) -> tuple[Mutant, ...]:
    made = []
    for name, provider, located, *more in mutants:
        made.append(
            Mutant(
                f"{model_type}_{name}", provider, base=base(model_type), located=located, **(more[0] if more else {})
            )
        )
    return tuple(made)


LAYER = r"decoder\.layers\.\d+"
FIRST = r"decoder\.layers\.0"
ATTENTION = rf"{LAYER}\.self_attention"
CORE = rf"{ATTENTION}\.core_attention"
MLP = rf"{LAYER}\.mlp"
ROUTER = rf"{MLP}\.router"
IMPORT: dict[str, Any] = {"caught_by": ("import.hf_consumed",), "exact_round_trip": False}
BUILD: dict[str, Any] = {"caught_by": ("build.megatron",), "exact_round_trip": False}
EXPERTS = "decoder.layers.*.mlp.experts.linear_fc1.weight*"
EXPERTS_DOWN = "decoder.layers.*.mlp.experts.linear_fc2.weight*"
SWAPPED = (
    f"[replace([mapping], {EXPERTS!r}, hf_param=dict(gate=mapping.hf_param['up'], up=mapping.hf_param['gate']))"
    f" for mapping in mappings if mapping.megatron_param == {EXPERTS!r}]"
)

GENERATED_MUTANTS: tuple[Mutant, ...] = (
    *_of(
        "gemma2",
        ("attention_softcap_lost", "provider.attn_logit_softcapping = 1e9", CORE),
        ("attention_softcap_off_by_a_tenth", "provider.attn_logit_softcapping *= 1.1", CORE),
        ("final_softcap_lost", "provider.final_logit_softcapping = 1e9", "output_layer"),
        ("embedding_not_scaled", "provider.embedding_multiplier = 1.0", "embedding"),
        (
            "windows_on_the_other_layers",
            "provider.window_attn_skip_freq = [1 - one for one in provider.window_attn_skip_freq]",
            CORE,
        ),
        ("windows_on_all_layers", "provider.window_attn_skip_freq = None", CORE),
        ("window_too_wide_by_one", "provider.window_size = (provider.window_size[0] + 1, 0)", CORE),
        ("softmax_scale_of_the_head", "provider.softmax_scale = provider.kv_channels**-0.5", ATTENTION),
        ("exact_gelu", "provider.activation_func = torch.nn.functional.gelu", MLP),
        ("norms_not_shifted_by_one", "provider.layernorm_zero_centered_gamma = False", rf"{FIRST}\..*"),
        (
            "stale_tie_flag",
            "provider.share_embeddings_and_output_weights = False",
            "output_layer",
            {"caught_by": ("import.megatron_filled",), "exact_round_trip": False},
        ),
    ),
    *_of(
        "granite",
        ("embedding_multiplier_lost", "provider.embedding_multiplier = 1.0", "embedding"),
        ("residual_multiplier_lost", "provider.residual_multiplier = 1.0", rf"{FIRST}.*"),
        ("logits_multiplied_instead_of_divided", "provider.logits_multiplier **= -1", "output_layer"),
        ("attention_multiplier_lost", "provider.softmax_scale = None", ATTENTION),
        ("eps_of_another_model", "provider.layernorm_epsilon *= 1.02", rf"{FIRST}\.self_attention\.linear_qkv"),
    ),
    *_of(
        "cohere",
        ("rotated_by_halves", "provider.rotary_interleaved = False", ATTENTION),
        ("logit_scale_lost", "provider.logits_multiplier = 1.0", "output_layer"),
        ("rope_base_off_by_a_thousandth", "provider.rotary_base *= 1.001", ATTENTION),
        ("eps_off_by_a_percent", "provider.layernorm_epsilon *= 1.01", rf"{FIRST}.*"),
    ),
    *_of(
        "olmo2",
        ("norms_of_heads_forgotten", "provider.qk_layernorm = False", ATTENTION, IMPORT),
        ("another_eps", "provider.layernorm_epsilon *= 0.98", rf"{FIRST}\.self_attention.*"),
        ("relu", "provider.activation_func = torch.nn.functional.relu", MLP),
    ),
    *_of(
        "gpt2",
        ("exact_gelu", "provider.activation_func = torch.nn.functional.gelu", MLP),
        ("eps_left_at_its_default", "provider.layernorm_epsilon = 1e-5", rf"{FIRST}.*"),
        ("rope_added", "provider.position_embedding_type = 'rope'", "embedding", IMPORT),
        ("biases_dropped", "provider.add_bias_linear = False", rf"{ATTENTION}\.linear_proj", IMPORT),
    ),
    *_of(
        "gpt_oss",
        ("sinks_lost", "provider.softmax_type = 'vanilla'", CORE, IMPORT),
        ("clamp_lost", "provider.activation_func_clamp_value = None", MLP),
        ("offset_of_the_linear_half_lost", "provider.glu_linear_offset = 0.0", MLP),
        ("silu", "provider.activation_func = torch.nn.functional.silu", MLP),
        (
            "windows_on_the_other_layers",
            "provider.window_attn_skip_freq = [1 - one for one in provider.window_attn_skip_freq]",
            CORE,
        ),
        ("window_too_narrow_by_one", "provider.window_size = (provider.window_size[0] - 1, 0)", CORE),
        (
            "another_rope_factor",
            "provider.rope_parameters = provider.rope_parameters | {'factor': 33.7}",
            ATTENTION,
        ),
        (
            "another_original_length",
            "provider.rope_parameters = provider.rope_parameters | {'original_max_position_embeddings':"
            " 2 * provider.rope_parameters['original_max_position_embeddings']}",
            ATTENTION,
        ),
        ("one_expert_fewer", "provider.moe_router_topk -= 1", ROUTER),
        ("weights_before_the_choice", "provider.moe_router_pre_softmax = True", ROUTER),
    ),
    *_of(
        "qwen2_moe",
        (
            "norm_topk_prob_ignored",
            "provider.moe_router_pre_softmax = not provider.moe_router_pre_softmax",
            ROUTER,
        ),
        ("shared_gate_forgotten", "provider.moe_shared_expert_gate = False", MLP, IMPORT),
        ("one_expert_more", "provider.moe_router_topk += 1", ROUTER),
        ("qkv_biases_dropped", "provider.add_qkv_bias = False", rf"{ATTENTION}\.linear_qkv", IMPORT),
        ("experts_gate_and_up_swapped", "pass", MLP, {"mappings": SWAPPED}),
        (
            "a_square_expert_turned_round",
            "pass",
            "",
            {
                "mappings": f"turn(mappings, {EXPERTS_DOWN!r})",
                "caught_by": ("square.logits",),
                "toys": ("a", "square"),
            },
        ),
    ),
    *_of(
        "glm4_moe",
        ("scaling_of_experts_lost", "provider.moe_router_topk_scaling_factor = None", ROUTER),
        ("another_scaling_of_experts", "provider.moe_router_topk_scaling_factor *= 1.01", ROUTER),
        ("selection_bias_dropped", "provider.moe_router_enable_expert_bias = False", ROUTER, IMPORT),
        ("softmax_router", "provider.moe_router_score_function = 'softmax'", "", BUILD),
        ("half_the_rotation", "provider.rotary_percent /= 2", ATTENTION),
        ("whole_rotation", "provider.rotary_percent = 1.0", ATTENTION),
        ("shared_expert_forgotten", "provider.moe_shared_expert_intermediate_size = None", MLP, IMPORT),
        (
            "experts_in_every_layer",
            "provider.moe_layer_freq = [1] * provider.num_layers",
            rf"{FIRST}.*",
            IMPORT,
        ),
        ("query_and_key_norms_forgotten", "provider.qk_layernorm = False", ATTENTION, IMPORT),
        ("experts_gate_and_up_swapped", "pass", MLP, {"mappings": SWAPPED}),
    ),
    *_of(
        "deepseek_v3",
        (
            "eps_of_latents",
            "provider.latent_layernorm_epsilon = provider.layernorm_epsilon",
            rf"{ATTENTION}\.(linear_q_up_proj|linear_kv_up_proj|q_layernorm|kv_layernorm)",
        ),
        ("scaling_of_experts_lost", "provider.moe_router_topk_scaling_factor = None", ROUTER),
        ("all_groups_kept", "provider.moe_router_group_topk = provider.moe_router_num_groups", ROUTER),
        ("softmax_before_the_choice", "provider.moe_router_score_function = 'softmax'", "", BUILD),
        ("mscale_forgotten", "provider.mscale_all_dim = 0.0", ATTENTION),
        ("another_yarn_factor", "provider.rotary_scaling_factor *= 1.05", ATTENTION),
        ("another_beta", "provider.beta_fast /= 4", ATTENTION),
        ("rope_without_yarn", "provider.rope_type = 'rope'", ATTENTION),
        ("rope_base_off_by_a_percent", "provider.rotary_base *= 1.01", ATTENTION),
        ("one_expert_fewer", "provider.moe_router_topk -= 1", ROUTER),
        ("selection_bias_dropped", "provider.moe_router_enable_expert_bias = False", ROUTER, IMPORT),
    ),
)
