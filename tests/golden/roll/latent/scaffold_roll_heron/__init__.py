# Generated with scaffold from birds/heron.

"""Heron for ROLL: importing this package registers it."""

from mcore_adapter.models.auto.config_auto import register_config
from mcore_adapter.models.converter.dist_converter import DistParallelConfig, mla_dist_config, register_dist_config
from mcore_adapter.models.converter.template import RenameConverOp, StackConverOp, register_template
from mcore_adapter.models.model_config import MLAMcaModelConfig
from scaffold_roll_heron.modeling_heron import HeronModel


register_config("heron", MLAMcaModelConfig)
register_dist_config(
    "heron",
    mla_dist_config.merge_configs(
        DistParallelConfig(
            duplicated_weights=[
                ".mlp.linear_fc1.layer_norm_weight",
                ".self_attention.linear_q_down_proj.weight",
                ".self_attention.linear_q_up_proj.layer_norm_weight",
                ".self_attention.linear_kv_down_proj.weight",
                ".self_attention.linear_kv_up_proj.layer_norm_weight",
            ],
            column_parallel_weights=[
                ".self_attention.linear_q_up_proj.weight",
                ".self_attention.linear_kv_up_proj.weight",
            ],
        )
    ),
)


register_template(
    "heron",
    hf_layer_prefix="model.layers.",
    config_hf_to_mca={
        "attention_dropout": "attention_dropout",
        "num_hidden_layers": "num_layers",
        "hidden_size": "hidden_size",
        "vocab_size": "padded_vocab_size",
        "num_attention_heads": "num_attention_heads",
        "num_key_value_heads": "num_query_groups",
        "intermediate_size": "ffn_hidden_size",
        "max_position_embeddings": "max_sequence_length",
        "rms_norm_eps": "layernorm_epsilon",
        "tie_word_embeddings": "tie_embeddings_and_output_weights",
        "q_lora_rank": "q_lora_rank",
        "kv_lora_rank": "kv_lora_rank",
        "qk_nope_head_dim": "qk_head_dim",
        "qk_rope_head_dim": "qk_pos_emb_head_dim",
        "v_head_dim": "v_head_dim",
        "rope_theta": "rotary_base",
        "rope_parameters": "rope_parameters",
    },
    constant_mca_config={
        "hidden_dropout": 0.0,
        "normalization": "RMSNorm",
        "position_embedding_type": "rope",
        "swiglu": True,
        "add_bias_linear": False,
        "qk_layernorm": True,
        "multi_latent_attention": True,
        "rope_type": "rope",
    },
    weight_converters=[
        RenameConverOp(hf_names="model.embed_tokens.weight", mca_names="embedding.word_embeddings.weight"),
        RenameConverOp(hf_names="lm_head.weight", mca_names="output_layer.weight"),
        RenameConverOp(hf_names="model.norm.weight", mca_names="decoder.final_layernorm.weight"),
        RenameConverOp(hf_names=".input_layernorm.weight", mca_names=".input_layernorm.weight"),
        RenameConverOp(hf_names=".post_attention_layernorm.weight", mca_names=".mlp.linear_fc1.layer_norm_weight"),
        RenameConverOp(hf_names=".self_attn.o_proj.weight", mca_names=".self_attention.linear_proj.weight"),
        RenameConverOp(hf_names=".self_attn.q_a_proj.weight", mca_names=".self_attention.linear_q_down_proj.weight"),
        RenameConverOp(
            hf_names=".self_attn.q_a_layernorm.weight", mca_names=".self_attention.linear_q_up_proj.layer_norm_weight"
        ),
        RenameConverOp(hf_names=".self_attn.q_b_proj.weight", mca_names=".self_attention.linear_q_up_proj.weight"),
        RenameConverOp(
            hf_names=".self_attn.kv_a_proj_with_mqa.weight", mca_names=".self_attention.linear_kv_down_proj.weight"
        ),
        RenameConverOp(
            hf_names=".self_attn.kv_a_layernorm.weight",
            mca_names=".self_attention.linear_kv_up_proj.layer_norm_weight",
        ),
        RenameConverOp(hf_names=".self_attn.kv_b_proj.weight", mca_names=".self_attention.linear_kv_up_proj.weight"),
        RenameConverOp(hf_names=".mlp.down_proj.weight", mca_names=".mlp.linear_fc2.weight"),
        StackConverOp(
            hf_names=[".mlp.gate_proj.weight", ".mlp.up_proj.weight"], mca_names=".mlp.linear_fc1.weight", dim=0
        ),
    ],
)


__all__ = ["HeronModel"]
