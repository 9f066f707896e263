"""Experts, latent attention, state-space, linear-attention, convolution and recurrent mixers, extra heads."""

from __future__ import annotations

from scaffold_tools.classify.keyrows.row import KeyRow, rows

MOE: tuple[KeyRow, ...] = rows(
    "moe",
    (
        (
            "num_experts num_local_experts n_routed_experts moe_num_experts num_routed_experts n_experts"
            " moe_num_primary_experts",
            "routed experts in a MoE layer",
        ),
        (
            "num_experts_per_tok num_experts_per_token experts_per_token top_k_experts moe_topk moe_top_k moe_k"
            " num_selected_experts num_experts_top_k router_topk",
            "experts that one token uses",
        ),
        (
            "moe_intermediate_size expert_ffn_hidden_size moe_ffn_hidden_size expert_intermediate_size",
            "width of one expert",
        ),
        (
            "shared_expert_intermediate_size moe_shared_expert_intermediate_size shared_intermediate_size",
            "shared width",
        ),
        ("n_shared_experts num_shared_experts moe_num_shared_experts num_shared_expert", "shared experts"),
        (
            "intermediate_size_mlp dense_intermediate_size prefix_dense_intermediate_size",
            "width of the dense layers' MLP",
        ),
        ("moe_latent_size routed_expert_hidden_size", "width that tokens are projected to before the experts"),
        (
            "norm_topk_prob moe_renormalize norm_expert_weight route_norm",
            "chosen expert weights are normalised to sum 1",
        ),
        ("moe_normalize_expert_weights", "p of the norm that chosen expert weights are divided by"),
        ("moe_norm_min", "smallest sum that expert weights are divided by"),
        ("scoring_func moe_router_activation_func score_function expert_selection_fn score_func", "router scores"),
        ("topk_method", "how experts are chosen (greedy, group limited, with correction bias)"),
        ("use_routing_bias use_expert_bias moe_router_enable_expert_bias moe_use_correction_bias", "correction bias"),
        ("n_group num_expert_groups", "groups of experts that are ranked first"),
        ("topk_group num_limited_groups", "groups that a token may use"),
        (
            "routed_scaling_factor route_scale router_scaling_factor moe_routed_scaling_factor",
            "factor on routed outputs",
        ),
        ("moe_router_logit_softcapping router_logit_softcapping", "c in c*tanh(router logits/c)"),
        ("moe_apply_router_weight_on_input", "tokens are weighed before the experts and not after"),
        (
            "first_k_dense_replace num_dense_layers n_dense_layers num_initial_dense_layers",
            "first layers with dense MLP",
        ),
        ("decoder_sparse_step moe_layer_freq interleave_moe_layer_step moe_layer_interval", "every n-th layer is MoE"),
        ("expert_layer_period expert_layer_offset", "which layers are MoE: index % period == offset"),
        ("moe_layer_start_index moe_layer_end_index", "range of MoE layers"),
        ("mlp_only_layers", "layers with a dense MLP in spite of the step"),
        ("moe_layers moe_layers_enum", "layers that are MoE"),
        ("mlp_layer_types", "per layer: dense or sparse MLP"),
        ("enable_moe_block is_moe use_moe", "whether MoE is on at all"),
        ("zero_expert_num zero_expert_type", "experts that return zero or their input"),
        ("shared_expert_combination_strategy", "how shared and routed outputs are joined"),
        ("enable_moe_fp32_combine", "expert outputs are added up in float32"),
        ("router_dtype moe_router_dtype use_fp32_router", "precision of the router"),
        ("use_shared_expert_gate moe_shared_expert_gate", "the shared expert is multiplied by a sigmoid gate"),
        ("num_hash_layers n_hash_layers", "layers whose experts follow from the token id"),
        ("hidden_act_moe moe_hidden_act", "activation of the experts"),
    ),
)

MLA: tuple[KeyRow, ...] = rows(
    "mla",
    (
        ("kv_lora_rank", "rank of the compressed keys and values"),
        ("q_lora_rank", "rank of the compressed queries; null when queries are not compressed"),
        ("qk_nope_head_dim", "part of a head without positions"),
        ("qk_rope_head_dim", "part of a head with positions"),
        ("qk_head_dim", "their sum"),
        ("v_head_dim v_head_size", "width of a value head"),
        ("mla_scale_q_lora mla_scale_kv_lora", "compressed states are rescaled"),
        ("use_mla", "latent attention is on"),
    ),
)

SSM_BLOCKING: tuple[KeyRow, ...] = rows(
    "ssm",
    (("mamba_chunk_size chunk_size", "block width of the scan; the result does not depend on it beyond rounding"),),
    affects_logits=False,
)

SSM: tuple[KeyRow, ...] = rows(
    "ssm",
    (
        ("ssm_state_size mamba_d_state state_size mamba_state_dim", "state width of the state-space mixer"),
        ("mamba_num_heads mamba_n_heads n_mamba_heads", "heads of the state-space mixer"),
        ("mamba_head_dim mamba_d_head mamba_headdim", "head width of the state-space mixer"),
        ("mamba_d_ssm", "inner width of the state-space mixer"),
        ("mamba_d_conv conv_kernel mamba_conv_kernel", "width of its causal convolution"),
        ("mamba_expand expand", "inner width as a multiple of hidden_size"),
        ("n_groups mamba_n_groups mamba_ngroups", "groups that share B and C"),
        ("mamba_dt_rank time_step_rank", "rank of the time-step projection"),
        ("time_step_limit", "clamp on the time step"),
        ("mamba_proj_bias projectors_bias", "biases in the mixer's projections"),
        ("mamba_conv_bias use_conv_bias", "bias in the mixer's convolution"),
        ("hybrid_override_pattern hybrid_pattern", "one letter a layer: M state-space, * attention, - MLP, E experts"),
        ("attn_layer_period attn_layer_offset", "which layers are attention: index % period == offset"),
        ("attn_layer_indices hybrid_layer_ids", "layers with attention"),
        ("layers_num_attention_heads attention_hidden_size", "sizes of the attention layers of a hybrid"),
        ("mamba_ssm_dtype mamba_ssm_cache_dtype", "precision of the recurrent state"),
        ("use_mamba", "state-space layers are on"),
    ),
)

LINEAR: tuple[KeyRow, ...] = rows(
    "linear-attention",
    (
        ("linear_num_key_heads", "key heads of linear attention"),
        ("linear_num_value_heads", "value heads of linear attention"),
        ("linear_key_head_dim", "key width of linear attention"),
        ("linear_value_head_dim", "value width of linear attention"),
        ("linear_conv_kernel_dim", "width of its causal convolution"),
        ("linear_allow_neg_eigval", "the state may flip sign"),
        ("linear_attn_config", "sub-dict with the linear-attention settings"),
        ("linear_use_gate", "the output is gated"),
    ),
)

OTHER_MIXERS: tuple[KeyRow, ...] = (
    *rows(
        "convolution",
        (
            ("conv_L_cache", "width of the short convolution"),
            ("conv_bias", "bias in the short convolution"),
            ("full_attn_idxs", "layers that are attention and not convolution"),
        ),
    ),
    *rows(
        "recurrent",
        (
            ("lru_width", "width of the gated linear recurrence"),
            ("block_types", "repeating pattern of recurrent and attention blocks"),
            ("conv1d_width", "width of the convolution before the recurrence"),
            ("qk_dim_factor v_dim_factor", "sizes of the matrix memory relative to hidden_size"),
            ("weight_mode", "fused or separate projections"),
            ("slstm_at", "layers with scalar memory"),
        ),
    ),
)

MTP: tuple[KeyRow, ...] = rows(
    "mtp",
    (
        (
            "num_nextn_predict_layers mtp_num_hidden_layers num_mtp_modules num_mtp_layers mtp_transformer_layers",
            "extra layers that predict later tokens",
        ),
        ("use_mtp mtp_use_dedicated_embeddings mtp_layers_block_type mtp_share_embeddings", "layout of those layers"),
    ),
    affects_logits=False,
)

ENCODER_DECODER: tuple[KeyRow, ...] = rows(
    "encoder-decoder",
    (
        ("is_encoder_decoder", "an encoder feeds the decoder by cross-attention"),
        ("encoder_layers num_encoder_layers", "layers of the encoder"),
        ("decoder_layers num_decoder_layers", "layers of the decoder"),
        ("encoder_attention_heads num_encoder_attention_heads", "heads of the encoder"),
        ("decoder_attention_heads num_decoder_attention_heads", "heads of the decoder"),
        ("encoder_ffn_dim", "MLP width of the encoder"),
        ("decoder_ffn_dim", "MLP width of the decoder"),
        ("add_cross_attention cross_attention_layers cross_attention_hidden_size", "cross-attention layers"),
        ("cross_attn_all_layers cross_attn_k", "cross-attention of a two-level model"),
        ("max_source_positions max_target_positions", "longest input and output"),
        ("share_encoder_decoder_embeddings decoder_vocab_size", "vocabularies of the two sides"),
        ("encoder decoder encoder_config decoder_config text_encoder audio_encoder", "sub-config of one side"),
        ("ngram num_hidden_groups inner_group_num", "n-gram streams or shared layer groups"),
    ),
)

ROWS: tuple[KeyRow, ...] = (*MOE, *MLA, *SSM_BLOCKING, *SSM, *LINEAR, *OTHER_MIXERS, *MTP, *ENCODER_DECODER)
