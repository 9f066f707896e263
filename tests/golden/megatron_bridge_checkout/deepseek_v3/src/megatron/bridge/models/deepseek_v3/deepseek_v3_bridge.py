# Copyright (c) 2026, NVIDIA CORPORATION.  All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

# Generated with scaffold.

import torch
from megatron.core.models.gpt.gpt_model import GPTModel
from transformers import DeepseekV3ForCausalLM

from megatron.bridge.models.conversion.mapping_registry import MegatronMappingRegistry
from megatron.bridge.models.conversion.model_bridge import MegatronModelBridge
from megatron.bridge.models.conversion.param_mapping import AutoMapping, GatedMLPMapping
from megatron.bridge.models.deepseek_v3.deepseek_v3_provider import DeepseekV3ModelProvider
from megatron.bridge.models.hf_pretrained.causal_lm import PreTrainedCausalLM


@MegatronModelBridge.register_bridge(
    source=DeepseekV3ForCausalLM, target=GPTModel, provider=DeepseekV3ModelProvider, model_type="deepseek_v3"
)
class DeepseekV3Bridge(MegatronModelBridge):
    """
    Megatron Bridge for DeepseekV3 Causal LM.

    Beyond stock Megatron Core: latent attention.

    As a user you would not use this bridge directly, but through `AutoBridge`.

    Example:
        >>> from megatron.bridge import AutoBridge
        >>> bridge = AutoBridge.from_hf_pretrained("path/to/model")
        >>> provider = bridge.to_megatron_provider()
    """

    # DeepseekV3ModelProvider builds this model; there is no model config of its own yet.
    MODEL_CONFIG_CLASS = None

    def provider_bridge(self, hf_pretrained: PreTrainedCausalLM) -> DeepseekV3ModelProvider:
        """Convert a Hugging Face DeepseekV3 config to DeepseekV3ModelProvider.

        Args:
            hf_pretrained: Hugging Face model whose config describes the architecture.

        Returns:
            The provider, with every attribute that differs from what the base class derives.
        """
        provider = super().provider_bridge(hf_pretrained)
        hf_config = hf_pretrained.config

        provider.normalization = "RMSNorm"

        # YaRN is the default of MLA.
        provider.rope_type = "yarn" if hf_config.rope_parameters["rope_type"] == "yarn" else "rope"

        # The norms on the latents.
        provider.qk_layernorm = True

        provider.gated_linear_unit = True
        provider.add_bias_linear = False

        provider.moe_router_score_function = "sigmoid"
        provider.moe_router_enable_expert_bias = True
        # the correction bias is a weight of the checkpoint
        provider.moe_router_bias_update_rate = 0.0
        provider.moe_router_dtype = "fp32"
        provider.moe_grouped_gemm = True
        provider.moe_token_dispatcher_type = "alltoall"
        provider.moe_permute_fusion = True
        provider.moe_router_load_balancing_type = "none"
        # 1: the layer has experts
        provider.moe_layer_freq = [
            int(layer >= hf_config.first_k_dense_replace) for layer in range(hf_config.num_hidden_layers)
        ]
        provider.moe_shared_expert_intermediate_size = hf_config.moe_intermediate_size * hf_config.n_shared_experts
        # Epsilon of the norms on the latents.
        provider.latent_layernorm_epsilon = 1e-06
        provider.multi_latent_attention = True
        provider.hidden_dropout = 0.0
        provider.autocast_dtype = torch.bfloat16

        return provider

    @classmethod
    def megatron_to_hf_config(cls, provider: DeepseekV3ModelProvider) -> dict:
        """Convert DeepseekV3ModelProvider back to a Hugging Face DeepseekV3 config."""
        hf_config = super().megatron_to_hf_config(provider)

        hf_config["first_k_dense_replace"] = provider.moe_layer_freq.count(0)

        return hf_config

    def mapping_registry(self) -> MegatronMappingRegistry:
        """Return the parameter mappings between Hugging Face and Megatron.

        Returns:
            MegatronMappingRegistry: Registry of parameter mappings.
        """
        # Megatron parameter name -> Hugging Face parameter name; `*` stands for the layer index.
        param_mappings = {
            # Embedding and output
            "embedding.word_embeddings.weight": "model.embed_tokens.weight",
            "output_layer.weight": "lm_head.weight",
            "decoder.final_layernorm.weight": "model.norm.weight",
            # Decoder layer norms
            "decoder.layers.*.input_layernorm.weight": "model.layers.*.input_layernorm.weight",
            "decoder.layers.*.mlp.linear_fc1.layer_norm_weight": "model.layers.*.post_attention_layernorm.weight",
            # Attention
            "decoder.layers.*.self_attention.linear_q_down_proj.weight": "model.layers.*.self_attn.q_a_proj.weight",
            "decoder.layers.*.self_attention.linear_q_up_proj.weight": "model.layers.*.self_attn.q_b_proj.weight",
            "decoder.layers.*.self_attention.linear_kv_down_proj.weight": "model.layers.*.self_attn.kv_a_proj_with_mqa.weight",
            "decoder.layers.*.self_attention.linear_kv_up_proj.weight": "model.layers.*.self_attn.kv_b_proj.weight",
            "decoder.layers.*.self_attention.linear_proj.weight": "model.layers.*.self_attn.o_proj.weight",
            "decoder.layers.*.self_attention.q_layernorm.weight": "model.layers.*.self_attn.q_a_layernorm.weight",
            "decoder.layers.*.self_attention.kv_layernorm.weight": "model.layers.*.self_attn.kv_a_layernorm.weight",
            # MLP
            "decoder.layers.*.mlp.linear_fc2.weight": "model.layers.*.mlp.down_proj.weight",
            # Mixture of experts
            "decoder.layers.*.mlp.router.weight": "model.layers.*.mlp.gate.weight",
            "decoder.layers.*.mlp.shared_experts.linear_fc2.weight": "model.layers.*.mlp.shared_experts.down_proj.weight",
            "decoder.layers.*.mlp.router.expert_bias": "model.layers.*.mlp.gate.e_score_correction_bias",
        }
        mapping_list = [
            AutoMapping(megatron_param=megatron_param, hf_param=hf_param)
            for megatron_param, hf_param in param_mappings.items()
        ]

        mapping_list.extend(
            [
                # gate and up are concatenated on each tensor-parallel rank
                GatedMLPMapping(
                    megatron_param="decoder.layers.*.mlp.linear_fc1.weight",
                    gate="model.layers.*.mlp.gate_proj.weight",
                    up="model.layers.*.mlp.up_proj.weight",
                ),
                # grouped experts
                GatedMLPMapping(
                    megatron_param="decoder.layers.*.mlp.experts.linear_fc1.weight*",
                    gate="model.layers.*.mlp.experts.*.gate_proj.weight",
                    up="model.layers.*.mlp.experts.*.up_proj.weight",
                ),
                # the same for experts one by one
                GatedMLPMapping(
                    megatron_param="decoder.layers.*.mlp.experts.local_experts.*.linear_fc1.weight",
                    gate="model.layers.*.mlp.experts.*.gate_proj.weight",
                    up="model.layers.*.mlp.experts.*.up_proj.weight",
                ),
                # shared expert
                GatedMLPMapping(
                    megatron_param="decoder.layers.*.mlp.shared_experts.linear_fc1.weight",
                    gate="model.layers.*.mlp.shared_experts.gate_proj.weight",
                    up="model.layers.*.mlp.shared_experts.up_proj.weight",
                ),
                # grouped experts
                AutoMapping(
                    megatron_param="decoder.layers.*.mlp.experts.linear_fc2.weight*",
                    hf_param="model.layers.*.mlp.experts.*.down_proj.weight",
                ),
                # the same for experts one by one
                AutoMapping(
                    megatron_param="decoder.layers.*.mlp.experts.local_experts.*.linear_fc2.weight",
                    hf_param="model.layers.*.mlp.experts.*.down_proj.weight",
                ),
            ]
        )

        return MegatronMappingRegistry(*mapping_list)
