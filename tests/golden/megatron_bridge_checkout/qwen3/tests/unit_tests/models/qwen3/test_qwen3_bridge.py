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

from megatron.bridge import AutoBridge
from megatron.bridge.models.conversion.model_bridge import get_model_bridge
from megatron.bridge.models.gpt_provider import GPTModelProvider
from megatron.bridge.models.qwen3.qwen3_bridge import Qwen3Bridge


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
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 256,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-06,
    "use_cache": True,
    "tie_word_embeddings": False,
    "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    "attention_bias": False,
    "use_sliding_window": False,
    "sliding_window": None,
    "max_window_layers": 28,
    "layer_types": ["full_attention", "full_attention", "full_attention", "full_attention"],
    "attention_dropout": 0.0,
    "model_type": "qwen3",
    "output_attentions": False,
}


class TestQwen3Bridge:
    """Test the Qwen3 bridge against a real Hugging Face config."""

    @pytest.fixture
    def hf_config(self):
        """Create the Hugging Face config."""
        config = AutoConfig.for_model(**HF_CONFIG)
        config.architectures = ["Qwen3ForCausalLM"]
        return config

    @pytest.fixture
    def bridge(self, hf_config):
        """Create the bridge, as AutoBridge does."""
        return get_model_bridge("Qwen3ForCausalLM", hf_config=hf_config)

    @pytest.fixture
    def provider(self, bridge, hf_config):
        """Convert the config to a provider."""
        return bridge.provider_bridge(SimpleNamespace(config=hf_config))

    def test_registration(self, bridge, hf_config):
        """AutoBridge picks this bridge for the architecture."""
        assert isinstance(bridge, Qwen3Bridge)
        assert "Qwen3ForCausalLM" in AutoBridge.list_supported_models()
        assert AutoBridge.supports(hf_config)

    def test_provider_class(self, provider):
        """The provider is of the class that builds this model."""
        assert isinstance(provider, GPTModelProvider)

    def test_sizes(self, provider, hf_config):
        """Sizes follow the config."""
        assert provider.num_layers == hf_config.num_hidden_layers
        assert provider.hidden_size == hf_config.hidden_size
        assert provider.ffn_hidden_size == hf_config.intermediate_size
        assert provider.vocab_size == hf_config.vocab_size
        assert provider.num_attention_heads == hf_config.num_attention_heads
        assert provider.num_query_groups == hf_config.num_key_value_heads
        assert provider.kv_channels == hf_config.head_dim
        assert provider.seq_length == hf_config.max_position_embeddings
        assert provider.layernorm_epsilon == hf_config.rms_norm_eps
        assert provider.share_embeddings_and_output_weights == hf_config.tie_word_embeddings

    def test_architecture(self, provider, hf_config):
        """What makes this architecture is set."""
        assert provider.normalization == "RMSNorm"
        assert provider.qk_layernorm is True
        assert provider.gated_linear_unit is True
        assert provider.add_bias_linear is False

    def test_every_attribute_is_a_field(self, provider):
        """An assignment to a name that the provider does not declare would be lost without an error."""
        declared = set(type(provider).__dataclass_fields__)
        assert set(["add_bias_linear", "gated_linear_unit", "normalization", "qk_layernorm"]) <= declared

    def test_config_round_trip(self, bridge, provider, hf_config):
        """The exported config means the same: it converts to the same provider."""
        exported = type(bridge).megatron_to_hf_config(provider)
        flags = {key: value for key, value in HF_CONFIG.items() if isinstance(value, (bool, str))}
        again = bridge.provider_bridge(SimpleNamespace(config=AutoConfig.for_model(**{**flags, **exported})))
        for name in [
            "add_bias_linear",
            "gated_linear_unit",
            "hidden_size",
            "layernorm_epsilon",
            "normalization",
            "num_layers",
            "qk_layernorm",
            "rotary_base",
        ]:
            before, after = getattr(provider, name), getattr(again, name)
            assert after == before or after == pytest.approx(before), name

    def test_every_weight_is_mapped(self, bridge, hf_config):
        """Each tensor of the Hugging Face model has a Megatron parameter."""
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(hf_config)
        registry = bridge.mapping_registry()
        assert [name for name in model.state_dict() if registry.hf_to_megatron_lookup(name) is None] == []

    def test_no_weight_is_mapped_twice(self, bridge):
        """Two mappings for one Megatron parameter would shadow each other."""
        names = [mapping.megatron_param for mapping in bridge.mapping_registry().get_all_mappings()]
        assert len(names) == len(set(names))
