# Generated with scaffold from birds/heron.

"""Heron for ROLL: importing this package registers it."""

from mcore_adapter.models.auto.config_auto import register_config
from mcore_adapter.models.auto.modeling_auto import register_model
from mcore_adapter.models.converter.dist_converter import default_dist_config, register_dist_config
from mcore_adapter.models.converter.template import CopyConverOp, RenameConverOp, Template, register_template
from mcore_adapter.models.model_config import McaModelConfig
from mcore_adapter.models.model_factory import McaGPTModel
from scaffold_roll_heron.converters_heron import FusedGateUpConverOp, FusedQKVConverOp


class HeronTemplate(Template):
    """Converts LoRA adapters of its own operations."""

    def get_lora_conver_op(self, name, pattern_to_conver_ops, lora_rank):
        """The operation of an adapter: B has the rows of the weight, and A is the same for all that is fused."""
        weight, adapter = name[: name.find(".lora")] + ".weight", name[name.find(".lora") :]
        op = self.get_conver_op(weight, pattern_to_conver_ops)
        if not isinstance(op, (FusedQKVConverOp, FusedGateUpConverOp)):
            return super().get_lora_conver_op(name, pattern_to_conver_ops, lora_rank)
        kind = type(op)
        if adapter.startswith(".lora_A."):
            kind = RenameConverOp if len(op.hf_names) == 1 else CopyConverOp
        return kind(
            hf_names=[hf_name.replace(".weight", adapter) for hf_name in op.hf_names],
            mca_names=[mca_name.replace(".weight", adapter) for mca_name in op.mca_names],
            _mca_config=op.mca_config,
        )


register_config("heron", McaModelConfig)
register_model("heron", McaGPTModel)
register_dist_config("heron", default_dist_config)


register_template(
    "heron",
    template_class=HeronTemplate,
    hf_layer_prefix="model.layers.",
    config_hf_to_mca={
        "attention_dropout": "attention_dropout",
        "num_hidden_layers": "num_layers",
        "hidden_size": "hidden_size",
        "vocab_size": "padded_vocab_size",
        "num_attention_heads": "num_attention_heads",
        "num_key_value_heads": "num_query_groups",
        "head_dim": "kv_channels",
        "intermediate_size": "ffn_hidden_size",
        "max_position_embeddings": "max_sequence_length",
        "rms_norm_eps": "layernorm_epsilon",
        "rope_theta": "rotary_base",
        "rope_parameters": "rope_parameters",
        "attention_bias": "add_qkv_bias",
        "tie_word_embeddings": "tie_embeddings_and_output_weights",
    },
    constant_mca_config={
        "hidden_dropout": 0.0,
        "normalization": "RMSNorm",
        "qk_layernorm": True,
        "position_embedding_type": "rope",
        "rotary_percent": 1.0,
        "swiglu": True,
        "add_bias_linear": False,
    },
    weight_converters=[
        RenameConverOp(hf_names="model.embed_tokens.weight", mca_names="embedding.word_embeddings.weight"),
        RenameConverOp(hf_names="lm_head.weight", mca_names="output_layer.weight"),
        RenameConverOp(hf_names="model.norm.weight", mca_names="decoder.final_layernorm.weight"),
        RenameConverOp(hf_names=".input_layernorm.weight", mca_names=".self_attention.linear_qkv.layer_norm_weight"),
        RenameConverOp(hf_names=".post_attention_layernorm.weight", mca_names=".mlp.linear_fc1.layer_norm_weight"),
        RenameConverOp(hf_names=".self_attn.q_norm.weight", mca_names=".self_attention.q_layernorm.weight"),
        RenameConverOp(hf_names=".self_attn.k_norm.weight", mca_names=".self_attention.k_layernorm.weight"),
        RenameConverOp(hf_names=".self_attn.o_proj.weight", mca_names=".self_attention.linear_proj.weight"),
        RenameConverOp(hf_names=".mlp.down_proj.weight", mca_names=".mlp.linear_fc2.weight"),
        FusedQKVConverOp(hf_names=".self_attn.qkv_proj.weight", mca_names=".self_attention.linear_qkv.weight"),
        FusedGateUpConverOp(hf_names=".mlp.gate_up_proj.weight", mca_names=".mlp.linear_fc1.weight"),
    ],
)
