"""Quantisation, token ids, and what cannot change the logits of a forward pass: training, caches, bookkeeping."""

from __future__ import annotations

from scaffold_tools.classify.keyrows.row import KeyRow, rows

QUANTISATION: tuple[KeyRow, ...] = rows(
    "quantisation",
    (
        ("quantization_config compression_config quantization quant_config", "how the stored weights are quantised"),
        ("expert_dtype", "storage type of the expert weights"),
    ),
)

QUANTISATION_INNER: tuple[KeyRow, ...] = rows(
    "quantisation",
    (
        ("quant_method quant_algo quantization_mode", "the method"),
        ("fmt format quant_type fp8_format", "the number format"),
        ("activation_scheme", "activation scales: dynamic, or static and stored"),
        ("weight_block_size", "rows and columns that share a scale"),
        (
            "modules_to_not_convert ignore ignored_layers exclude_modules skip_modules llm_int8_skip_modules",
            "left alone",
        ),
        ("bits nbits num_bits w_bit weight_bits", "bits of a weight"),
        ("group_size q_group_size in_group_size out_group_size group_num", "consecutive weights that share a scale"),
        ("desc_act act_group_aware static_groups true_sequential", "GPTQ: order in which columns were quantised"),
        ("sym zero_point symmetric", "whether there are zero points"),
        ("version backend checkpoint_format packing_format pack_dtype meta quantizer", "packing and kernel"),
        (
            "config_groups targets weights input_activations output_activations strategy type actorder",
            "scheme of a group",
        ),
        ("block_structure observer observer_kwargs dynamic", "scheme of a group"),
        ("kv_cache_scheme kv_cache_quant_algo kv_cache_dtype", "quantised key/value cache"),
        (
            "global_compression_ratio quantization_status sparsity_config transform_config",
            "compressed-tensors settings",
        ),
        ("load_in_4bit load_in_8bit _load_in_4bit _load_in_8bit", "bitsandbytes: width"),
        (
            "bnb_4bit_quant_type bnb_4bit_use_double_quant bnb_4bit_quant_storage bnb_4bit_compute_dtype",
            "bitsandbytes",
        ),
        ("llm_int8_threshold llm_int8_has_fp16_weight llm_int8_enable_fp32_cpu_offload", "bitsandbytes: outliers"),
        (
            "damp_percent dataset model_name_or_path model_seqlen block_name_to_quantize tokenizer use_cuda_fp16",
            "how made",
        ),
        (
            "modules_in_block_to_quantize batch_size pad_token_id use_exllama max_input_length exllama_config",
            "how made",
        ),
        ("producer name quantized_layers", "which tool wrote it"),
        ("scale_fmt activation_scale_ub dtype untie_embedding_weights", "storage of scales"),
        ("linear_class autoround_version iters lr low_gpu_mem_usage nsamples seqlen enable_quanted_input", "how made"),
        (
            "run_compressed dequantize modules_to_convert include_input_output_embeddings quantize_embeddings",
            "loading",
        ),
        ("quant_config axis nbits_per_codebook num_codebooks linear_weights_not_to_quantize", "method settings"),
    ),
    scope="quantisation",
)

TOKENS: tuple[KeyRow, ...] = rows(
    "tokens",
    (
        ("bos_token_id bos_index", "first token"),
        ("eos_token_id eos_index eod_token_id", "last token"),
        ("pad_token_id pad_index", "padding token"),
        ("unk_token_id unk_index sep_token_id cls_token_id mask_token_id mask_index", "special token"),
        ("decoder_start_token_id", "first token of a decoder"),
        ("boi_token_id eoi_token_id boi_token_index eoi_token_index boi_index", "image delimiters"),
        ("image_start_token_id image_end_token_id image_break_token_id", "image delimiters"),
        ("vision_start_token_id vision_end_token_id vision_token_id", "image delimiters"),
        ("video_start_token_id video_end_token_id", "video delimiters"),
        ("boa_token_id eoa_token_id eoa_token_index audio_start_token_id audio_end_token_id", "audio delimiters"),
        ("audio_bos_token_id audio_eos_token_id", "audio delimiters"),
        (
            "forced_bos_token_id forced_eos_token_id suppress_tokens begin_suppress_tokens",
            "forced or forbidden tokens",
        ),
        ("tokenizer_class prefix", "tokenizer hints"),
    ),
    affects_logits=False,
)

TRAINING: tuple[KeyRow, ...] = rows(
    "training-only",
    (
        (
            "attention_dropout attn_pdrop attention_probs_dropout_prob attention_dropout_prob attn_dropout",
            "dropout on attention weights",
        ),
        (
            "hidden_dropout hidden_dropout_prob resid_pdrop residual_dropout resid_dropout dropout dropout_p"
            " dropout_rate hidden_dropout_rate",
            "dropout on sublayer outputs",
        ),
        ("embd_pdrop emb_pdrop embed_dropout embedding_dropout embd_dropout embd_drop_prob", "dropout on embeddings"),
        ("activation_dropout mlp_dropout ffn_dropout ffdropout", "dropout inside the MLP"),
        ("lsh_attention_probs_dropout_prob local_attention_probs_dropout_prob", "dropout on attention weights"),
        (
            "layerdrop encoder_layerdrop decoder_layerdrop drop_path_rate projection_dropout projector_dropout",
            "dropout",
        ),
        ("feat_proj_dropout final_dropout feat_quantizer_dropout positional_dropout dropout_prob", "dropout"),
        (
            "classifier_dropout classifier_dropout_prob classifier_bias classifier_activation classifier_pooling",
            "head",
        ),
        (
            "summary_type summary_activation summary_use_proj summary_first_dropout summary_last_dropout",
            "summary head",
        ),
        ("summary_proj_to_labels start_n_top end_n_top", "summary head"),
        (
            "initializer_range init_std initializer_factor initializer_cutoff_factor init_method embed_init_std"
            " embedding_initializer_range w_init_variance_scale init_xavier_std axial_norm_std",
            "spread of fresh weights",
        ),
        (
            "time_step_min time_step_max time_step_floor time_step_init_scheme time_step_scale",
            "fresh time-step weights",
        ),
        ("linear_a_log_min linear_a_log_max linear_dt_min linear_dt_max linear_dt_init_floor", "fresh mixer weights"),
        ("rescale_prenorm_residual", "fresh weights of residual projections are made smaller"),
        (
            "router_aux_loss_coef aux_loss_alpha aux_loss_coef moe_loss_weight seq_aux z_loss_coefficient",
            "auxiliary loss",
        ),
        (
            "router_z_loss_coef balance_loss_coef router_aux_loss_alpha moe_aux_loss_coef mtp_loss_factor",
            "auxiliary loss",
        ),
        ("mtp_loss_scaling_factor load_balance_coeff", "auxiliary loss"),
        (
            "router_jitter_noise input_jitter_noise moe_jitter_eps moe_router_jitter",
            "noise on router inputs in training",
        ),
        ("expert_capacity moe_token_dropping moe_capacity_factor", "tokens dropped by full experts in training"),
        ("moe_shared_expert_overlap ep_size moe_router_force_load_balancing", "parallel training"),
        ("pretraining_tp tp_size tensor_parallel_size", "tensor-parallel slices of pre-training"),
        ("gradient_checkpointing use_reentrant L_bp_cycles", "memory saving in the backward pass"),
        ("label_smoothing ctc_loss_reduction ctc_zero_infinity disable_ngram_loss", "loss"),
        ("apply_spec_augment mask_time_prob mask_time_length mask_time_min_masks", "masking of the input in training"),
        ("mask_feature_prob mask_feature_length mask_feature_min_masks", "masking of the input in training"),
        ("bos_token_dropout token_dropout", "tokens dropped in training"),
    ),
    affects_logits=False,
)

GENERATION: tuple[KeyRow, ...] = rows(
    "generation/cache",
    (
        ("use_cache cache_implementation use_mems_eval use_mems_train", "keeps keys and values between steps"),
        ("num_logits_to_keep logits_to_keep", "positions that logits are computed for"),
        ("temperature top_k top_p do_sample num_beams max_length min_length max_new_tokens", "sampling"),
        ("repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size", "sampling"),
        ("diversity_penalty num_beam_groups num_return_sequences early_stopping bad_words_ids typical_p", "sampling"),
        ("remove_invalid_values exponential_decay_length_penalty", "sampling"),
        ("prompt_length prompt_mid_dim prompt_types segment_types use_prompt", "prompt tuning"),
        ("centroid_intermediate_top_k num_centroids use_ordered_embeddings", "candidates of a drafting assistant"),
        ("max_inference_chunksize return_last_states inference_state_dtype", "blockwise inference"),
    ),
    affects_logits=False,
)

BOOKKEEPING: tuple[KeyRow, ...] = rows(
    "bookkeeping",
    (
        ("architectures", "class that the checkpoint was saved from"),
        ("model_type", "configuration class"),
        ("auto_map", "custom code in the repository"),
        ("transformers_version", "library version that wrote the file"),
        ("torch_dtype dtype params_dtype", "storage precision"),
        ("_name_or_path name_or_path", "where it was saved from"),
        ("_attn_implementation attn_implementation _attn_implementation_autoset attn_impl", "attention kernel"),
        ("_commit_hash _class_name _diffusers_version", "written by the saving library"),
        ("id2label label2id num_labels problem_type finetuning_task task_specific_params", "classification head"),
        ("return_dict output_attentions output_hidden_states output_router_logits output_scores", "what is returned"),
        ("return_dict_in_generate torchscript use_bfloat16 tf_legacy_loss pruned_heads", "library flags"),
        ("chunk_size_feed_forward chunk_size_lm_head", "memory saving; the result is the same"),
        (
            "use_mamba_kernels use_mambapy use_falcon_mambapy use_associative_scan use_mem_eff_path use_flash_attn",
            "kernel",
        ),
        ("use_flash_attention use_flash_attn_2 fused_mlp use_fused_rope fuse_cross_entropy", "kernel"),
        ("chunkwise_kernel sequence_kernel step_kernel autocast_kernel_dtype mode", "kernel"),
        ("reorder_and_upcast_attn attention_softmax_in_fp32 scale_attention_softmax_in_fp32", "float32 softmax"),
        ("slow_but_exact init_device logit_scale_init_value", "library flags"),
        ("model_max_seq_len architectures_version unsloth_fixed unsloth_version", "written by a tool"),
        ("attn_uses_sequence_id disable_custom_kernels verbose", "library flags"),
        ("languages default_language n_langs lang_id use_lang_emb", "language tags"),
        ("is_composition has_no_defaults_at_init keys_to_ignore_at_inference", "library flags"),
    ),
    affects_logits=False,
)

ROWS: tuple[KeyRow, ...] = (*QUANTISATION, *QUANTISATION_INNER, *TOKENS, *TRAINING, *GENERATION, *BOOKKEEPING)
