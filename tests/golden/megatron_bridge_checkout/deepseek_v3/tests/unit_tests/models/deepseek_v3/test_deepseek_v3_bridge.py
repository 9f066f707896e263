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

from types import SimpleNamespace

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.core_model_loading import revert_weight_conversion

from megatron.bridge import AutoBridge
from megatron.bridge.models.conversion.model_bridge import get_model_bridge
from megatron.bridge.models.deepseek_v3.deepseek_v3_bridge import DeepseekV3Bridge
from megatron.bridge.models.deepseek_v3.deepseek_v3_provider import DeepseekV3ModelProvider


HF_CONFIG = {
    "output_hidden_states": False,
    "return_dict": True,
    "dtype": None,
    "chunk_size_feed_forward": 0,
    "is_encoder_decoder": False,
    "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
    "label2id": {"LABEL_0": 0, "LABEL_1": 1},
    "problem_type": None,
    "vocab_size": 512,
    "hidden_size": 128,
    "intermediate_size": 192,
    "moe_intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "n_shared_experts": 1,
    "n_routed_experts": 256,
    "routed_scaling_factor": 2.5,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "qk_nope_head_dim": 128,
    "n_group": 8,
    "topk_group": 4,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "norm_topk_prob": True,
    "hidden_act": "silu",
    "max_position_embeddings": 256,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-06,
    "use_cache": True,
    "pretraining_tp": 1,
    "tie_word_embeddings": False,
    "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    "rope_interleave": True,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "qk_head_dim": 192,
    "head_dim": 64,
    "model_type": "deepseek_v3",
    "output_attentions": False,
}


class TestDeepseekV3Bridge:
    """Test the DeepseekV3 bridge against a real Hugging Face config."""

    @pytest.fixture
    def hf_config(self):
        """Create the Hugging Face config."""
        config = AutoConfig.for_model(**HF_CONFIG)
        config.architectures = ["DeepseekV3ForCausalLM"]
        return config

    @pytest.fixture
    def bridge(self, hf_config):
        """Create the bridge, as AutoBridge does."""
        return get_model_bridge("DeepseekV3ForCausalLM", hf_config=hf_config)

    @pytest.fixture
    def provider(self, bridge, hf_config):
        """Convert the config to a provider."""
        return bridge.provider_bridge(SimpleNamespace(config=hf_config))

    def test_registration(self, bridge, hf_config):
        """AutoBridge picks this bridge for the architecture."""
        assert isinstance(bridge, DeepseekV3Bridge)
        assert "DeepseekV3ForCausalLM" in AutoBridge.list_supported_models()
        assert AutoBridge.supports(hf_config)

    def test_provider_class(self, provider):
        """The provider is of the class that builds this model."""
        assert isinstance(provider, DeepseekV3ModelProvider)

    def test_sizes(self, provider, hf_config):
        """Sizes follow the config."""
        assert provider.num_layers == hf_config.num_hidden_layers
        assert provider.hidden_size == hf_config.hidden_size
        assert provider.ffn_hidden_size == hf_config.intermediate_size
        assert provider.vocab_size == hf_config.vocab_size
        assert provider.num_attention_heads == hf_config.num_attention_heads
        assert provider.num_query_groups == hf_config.num_key_value_heads
        assert provider.seq_length == hf_config.max_position_embeddings
        assert provider.layernorm_epsilon == hf_config.rms_norm_eps
        assert provider.share_embeddings_and_output_weights == hf_config.tie_word_embeddings

    def test_architecture(self, provider, hf_config):
        """What makes this architecture is set."""
        assert provider.normalization == "RMSNorm"
        assert provider.moe_router_score_function == "sigmoid"
        assert provider.moe_router_enable_expert_bias is True
        assert provider.moe_router_bias_update_rate == 0.0
        assert provider.moe_router_dtype == "fp32"
        assert provider.gated_linear_unit is True
        assert provider.add_bias_linear is False
        assert provider.moe_grouped_gemm is True
        assert provider.moe_token_dispatcher_type == "alltoall"
        assert provider.moe_permute_fusion is True
        assert provider.moe_router_load_balancing_type == "none"
        assert provider.moe_layer_freq == [
            int(layer >= hf_config.first_k_dense_replace) for layer in range(hf_config.num_hidden_layers)
        ]
        assert (
            provider.moe_shared_expert_intermediate_size
            == hf_config.moe_intermediate_size * hf_config.n_shared_experts
        )
        assert provider.latent_layernorm_epsilon == 1e-06
        assert provider.multi_latent_attention is True
        assert provider.qk_layernorm is True
        assert provider.rope_type == ("yarn" if hf_config.rope_parameters["rope_type"] == "yarn" else "rope")

    def test_every_attribute_is_a_field(self, provider):
        """An assignment to a name that the provider does not declare would be lost without an error."""
        declared = set(type(provider).__dataclass_fields__)
        assert (
            set(
                [
                    "add_bias_linear",
                    "gated_linear_unit",
                    "latent_layernorm_epsilon",
                    "moe_grouped_gemm",
                    "moe_layer_freq",
                    "moe_permute_fusion",
                    "moe_router_bias_update_rate",
                    "moe_router_dtype",
                    "moe_router_enable_expert_bias",
                    "moe_router_load_balancing_type",
                    "moe_router_score_function",
                    "moe_shared_expert_intermediate_size",
                    "moe_token_dispatcher_type",
                    "multi_latent_attention",
                    "normalization",
                    "qk_layernorm",
                    "rope_type",
                ]
            )
            <= declared
        )

    def test_config_round_trip(self, bridge, provider, hf_config):
        """The exported config means the same: it converts to the same provider."""
        exported = type(bridge).megatron_to_hf_config(provider)
        flags = {key: value for key, value in HF_CONFIG.items() if isinstance(value, (bool, str))}
        again = bridge.provider_bridge(SimpleNamespace(config=AutoConfig.for_model(**{**flags, **exported})))
        for name in [
            "add_bias_linear",
            "gated_linear_unit",
            "hidden_size",
            "latent_layernorm_epsilon",
            "layernorm_epsilon",
            "moe_grouped_gemm",
            "moe_layer_freq",
            "moe_permute_fusion",
            "moe_router_bias_update_rate",
            "moe_router_dtype",
            "moe_router_enable_expert_bias",
            "moe_router_load_balancing_type",
            "moe_router_score_function",
            "moe_shared_expert_intermediate_size",
            "moe_token_dispatcher_type",
            "multi_latent_attention",
            "normalization",
            "num_layers",
            "qk_layernorm",
            "rope_type",
            "rotary_base",
        ]:
            before, after = getattr(provider, name), getattr(again, name)
            assert after == before or after == pytest.approx(before), name

    def test_every_weight_is_mapped(self, bridge, hf_config):
        """Each tensor of the Hugging Face model has a Megatron parameter."""
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(hf_config)
        registry = bridge.mapping_registry()
        names = revert_weight_conversion(model, model.state_dict())  # as checkpoints have them
        assert [name for name in names if registry.hf_to_megatron_lookup(name) is None] == []

    def test_no_weight_is_mapped_twice(self, bridge):
        """Two mappings for one Megatron parameter would shadow each other."""
        names = [mapping.megatron_param for mapping in bridge.mapping_registry().get_all_mappings()]
        assert len(names) == len(set(names))
