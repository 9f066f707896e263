# Generated with scaffold from birds/heron.

"""Heron for ROLL: importing this package registers it."""

from mcore_adapter.models.auto.config_auto import register_config
from mcore_adapter.models.auto.modeling_auto import register_model
from mcore_adapter.models.converter.convert_utils import get_mca_layer_index
from mcore_adapter.models.converter.dist_converter import (
    DistParallelConfig,
    default_dist_config,
    register_dist_config,
    shared_moe_dist_config,
)
from mcore_adapter.models.converter.template import (
    QKVConverOp,
    RenameConverOp,
    StackConverOp,
    Template,
    register_template,
)
from mcore_adapter.models.model_config import McaModelConfig
from mcore_adapter.models.model_factory import McaGPTModel


class HeronTemplate(Template):
    """Converts fields that no single config key holds and names that differ between layers."""

    # What a parameter is called in layers where a flag of the config has the value: usual name, name there, flags, value.
    HOMES = ((".pre_mlp_layernorm.", ".mlp.linear_fc1.layer_norm_", "moe_layer_freq", False),)

    def convert_hf_to_mca_config_kws(self, hf_config, **kw_args):
        # 1: the layer has experts
        kw_args["moe_layer_freq"] = [
            int(layer >= hf_config.first_k_dense_replace) for layer in range(hf_config.num_hidden_layers)
        ]
        kw_args["moe_shared_expert_intermediate_size"] = hf_config.moe_intermediate_size * hf_config.n_shared_experts
        return super().convert_hf_to_mca_config_kws(hf_config, **kw_args)

    def add_hf_weight(self, name, weight):
        converted = super().add_hf_weight(name, weight)
        if converted is None:
            return None
        return {self._placed(name): weight for name, weight in converted.items()}

    def _placed(self, name):
        """The name that this parameter has in its layer."""
        layer = get_mca_layer_index(name)
        if layer is not None:
            for usual, other, flags, value in self.HOMES:
                if bool(getattr(self.mca_config, flags)[layer]) is value:
                    name = name.replace(usual, other)
        return name

    def add_mca_weight(self, name, weight, **kwargs):
        for usual, other, _, _ in reversed(self.HOMES):
            name = name.replace(other, usual)
        return super().add_mca_weight(name, weight, **kwargs)


register_config("heron", McaModelConfig)
register_model("heron", McaGPTModel)
register_dist_config(
    "heron",
    default_dist_config.merge_configs(shared_moe_dist_config).merge_configs(
        DistParallelConfig(
            duplicated_weights=[
                ".mlp.router.expert_bias",
            ],
        )
    ),
)


register_template(
    "heron",
    template_class=HeronTemplate,
    hf_layer_prefix="model.layers.",
    hf_moe_prefix=".mlp.experts.",
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
        "n_routed_experts": "num_moe_experts",
        "num_experts_per_tok": "moe_router_topk",
        "moe_intermediate_size": "moe_ffn_hidden_size",
        "routed_scaling_factor": "moe_router_topk_scaling_factor",
    },
    constant_mca_config={
        "hidden_dropout": 0.0,
        "normalization": "RMSNorm",
        "qk_layernorm": True,
        "position_embedding_type": "rope",
        "rotary_percent": 1.0,
        "swiglu": True,
        "add_bias_linear": False,
        "moe_router_load_balancing_type": "none",
        "moe_router_score_function": "sigmoid",
        "moe_router_enable_expert_bias": True,
        "moe_router_bias_update_rate": 0.0,
        "moe_router_dtype": "fp32",
    },
    weight_converters=[
        RenameConverOp(hf_names="model.embed_tokens.weight", mca_names="embedding.word_embeddings.weight"),
        RenameConverOp(hf_names="lm_head.weight", mca_names="output_layer.weight"),
        RenameConverOp(hf_names="model.norm.weight", mca_names="decoder.final_layernorm.weight"),
        RenameConverOp(hf_names=".input_layernorm.weight", mca_names=".self_attention.linear_qkv.layer_norm_weight"),
        RenameConverOp(hf_names=".post_attention_layernorm.weight", mca_names=".pre_mlp_layernorm.weight"),
        RenameConverOp(hf_names=".self_attn.q_norm.weight", mca_names=".self_attention.q_layernorm.weight"),
        RenameConverOp(hf_names=".self_attn.k_norm.weight", mca_names=".self_attention.k_layernorm.weight"),
        RenameConverOp(hf_names=".self_attn.o_proj.weight", mca_names=".self_attention.linear_proj.weight"),
        RenameConverOp(hf_names=".mlp.down_proj.weight", mca_names=".mlp.linear_fc2.weight"),
        RenameConverOp(hf_names=".mlp.gate.weight", mca_names=".mlp.router.weight"),
        RenameConverOp(
            hf_names=".mlp.shared_experts.down_proj.weight", mca_names=".mlp.shared_experts.linear_fc2.weight"
        ),
        RenameConverOp(hf_names=".mlp.gate.e_score_correction_bias", mca_names=".mlp.router.expert_bias"),
        QKVConverOp(
            hf_names=[".self_attn.q_proj.weight", ".self_attn.k_proj.weight", ".self_attn.v_proj.weight"],
            mca_names=".self_attention.linear_qkv.weight",
        ),
        StackConverOp(
            hf_names=[".mlp.gate_proj.weight", ".mlp.up_proj.weight"], mca_names=".mlp.linear_fc1.weight", dim=0
        ),
        StackConverOp(hf_names=[".gate_proj.weight", ".up_proj.weight"], mca_names=".linear_fc1.weight", dim=0),
        StackConverOp(
            hf_names=[".mlp.shared_experts.gate_proj.weight", ".mlp.shared_experts.up_proj.weight"],
            mca_names=".mlp.shared_experts.linear_fc1.weight",
            dim=0,
        ),
        RenameConverOp(hf_names=".down_proj.weight", mca_names=".linear_fc2.weight"),
    ],
)
