"""Vision and audio towers, their projectors, and the keys that place their outputs among the tokens."""

from __future__ import annotations

from scaffold_tools.classify.keyrows.row import KeyRow, rows

VISION: tuple[KeyRow, ...] = rows(
    "vision",
    (
        ("vision_config visual_config vit_config image_config video_config", "sub-config of the vision tower"),
        ("backbone_config", "sub-config of a vision backbone"),
        (
            "perceiver_config qformer_config resampler_config vq_config",
            "sub-config of the module between tower and text",
        ),
        ("patch_size patch_sizes spatial_patch_size", "side of an image patch in pixels"),
        ("temporal_patch_size tubelet_size", "video frames in a patch"),
        ("image_size input_size crop_size", "side of the image in pixels"),
        ("num_channels in_channels in_chans", "colour channels"),
        ("depth depths", "layers of the tower"),
        ("hidden_sizes mlp_ratio mlp_ratios mlp_dim", "widths inside the tower"),
        ("spatial_merge_size merge_size pixel_shuffle_ratio downsample_ratio", "patches merged into one token"),
        ("out_hidden_size vision_output_dim output_dim", "width that the tower hands to the text model"),
        ("projection_dim projection_size projector_hidden_size", "width of the projector"),
        (
            "projector_hidden_act projection_hidden_act projector_bias multimodal_projector_bias projector_type"
            " mm_projector_type projector_config",
            "form of the projector",
        ),
        ("num_position_embeddings position_embedding_size", "rows of the tower's position table"),
        ("deepstack_visual_indexes", "tower layers whose outputs are added to early text layers"),
        ("fullatt_block_indexes window_block_indices global_attn_indexes", "tower layers with full attention"),
        ("vision_feature_layer vision_feature_select_strategy feature_layer", "which tower output is used"),
        (
            "image_seq_length video_seq_length mm_tokens_per_image vision_soft_tokens_per_image default_output_length"
            " max_soft_tokens",
            "tokens that an image becomes",
        ),
        ("image_grid_pinpoints image_aspect_ratio max_num_tiles", "how a large image is cut"),
        ("num_queries num_query_tokens latent_query_num", "learned queries of the resampler"),
        ("pooling_kernel_size pooling_type pooler_act pooler_output_size", "pooling of the tower output"),
        ("layer_scale_init_value layerscale_value initial_layer_scale", "initial value of the layer scales"),
        ("use_abs_pos use_rel_pos use_absolute_position_embeddings use_absolute_embeddings", "positions of the tower"),
        ("use_mask_token use_cls_token num_register_tokens", "extra tokens of the tower"),
        ("standardize", "the tower output is standardised with stored statistics"),
        ("use_clipped_linears", "linear layers of the tower clamp their input and output"),
        ("kernel_size strides patch_stride encoder_stride output_stride num_stages", "convolutions of the tower"),
        ("tokens_per_second position_id_per_seconds", "time step of video or audio positions"),
        ("num_image_with_embedding num_frames", "frames with an embedding of their own"),
        ("vision_use_head", "the tower has a pooling head"),
        (
            "latent_channels base_channels channel_multiplier num_res_blocks attn_resolutions double_latent",
            "image codec",
        ),
        ("num_embeddings embed_dimension", "rows of the image codebook"),
        ("temporal_downsample_factor out_channels", "shapes of the image codec"),
        ("vocabulary_map", "image codes to token ids"),
    ),
)

AUDIO: tuple[KeyRow, ...] = rows(
    "audio",
    (
        ("audio_config audio_encoder_config speech_config sound_config", "sub-config of the audio tower"),
        ("num_mel_bins mel_dim feature_size chroma_length num_chroma", "frequency bins of the input"),
        ("sampling_rate sample_rate", "samples a second"),
        (
            "conv_kernel_size conv_depthwise_kernel_size conv_dim conv_stride conv_bias_audio",
            "convolutions of the tower",
        ),
        ("subsampling_conv_channels subsampling_conv_kernel_size subsampling_conv_stride", "input convolutions"),
        (
            "feat_extract_norm feat_extract_activation num_conv_pos_embeddings num_conv_pos_embedding_groups",
            "front end",
        ),
        ("conf_attention_chunk_size conf_attention_context_left conf_attention_context_right", "attention chunks"),
        ("gradient_clipping conf_reduction_factor", "clamp and time reduction inside the tower"),
        ("audio_soft_tokens_per_image audio_seq_length n_window seconds_per_chunk", "tokens that audio becomes"),
        ("num_codebooks codebook_size codebook_dim audio_vocab_size audio_channels num_quantizers", "audio codes"),
        ("codec_config depth_decoder_config talker_config", "sub-config of the audio generator"),
        ("enable_audio_output", "the model also speaks"),
        ("downsample_rate downsample_factor", "time reduction"),
        ("add_adapter num_adapter_layers adapter_kernel_size adapter_stride", "adapter after the tower"),
        ("use_weighted_layer_sum classifier_proj_size", "audio classification head"),
        ("median_filter_width", "alignment of word timestamps"),
    ),
)

JOINING: tuple[KeyRow, ...] = rows(
    "tokens",
    (
        (
            "image_token_id image_token_index img_context_token_id media_placeholder_token_id im_patch_id",
            "image place",
        ),
        ("video_token_id video_token_index", "token that video embeddings replace"),
        ("audio_token_id audio_token_index sound_token_id", "token that audio embeddings replace"),
        ("user_token_id", "token that switches speakers"),
    ),
)

SUBCONFIGS: tuple[KeyRow, ...] = rows(
    "size",
    (
        (
            "text_config llm_config language_config lang_config thinker_config vlm_config talker_text_config"
            " language_model_config",
            "sub-config of the text model",
        ),
        ("global_config patcher_config", "sub-config of one level of a byte-level model"),
        ("patching_mode patching_threshold patching_batch_size patch_in_forward max_patch_length", "byte patches"),
        (
            "encoder_hash_byte_group_nb_functions encoder_hash_byte_group_size encoder_hash_byte_group_vocab",
            "hashed byte n-grams",
        ),
        ("sub_configs", "names of the sub-configs"),
    ),
)

ROWS: tuple[KeyRow, ...] = (*VISION, *AUDIO, *JOINING, *SUBCONFIGS)
