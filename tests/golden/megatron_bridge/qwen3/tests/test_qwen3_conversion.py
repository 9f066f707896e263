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

import pytest
import torch
from megatron.core import parallel_state
from transformers import AutoConfig, AutoModelForCausalLM

import scaffold_qwen3
from megatron.bridge import AutoBridge


HF_CONFIG = {
    "attention_bias": False,
    "attention_dropout": 0.0,
    "head_dim": 32,
    "hidden_act": "silu",
    "hidden_size": 128,
    "initializer_range": 0.02,
    "intermediate_size": 192,
    "max_position_embeddings": 256,
    "model_type": "qwen3",
    "num_attention_heads": 4,
    "num_hidden_layers": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000,
    "tie_word_embeddings": False,
    "vocab_size": 512,
}


@pytest.fixture(scope="module")
def hf_model_path(tmp_path_factory):
    """Save a toy model with random weights, biases and norms included."""
    path = tmp_path_factory.mktemp("qwen3")
    config = AutoConfig.for_model(**HF_CONFIG)
    config.architectures = ["Qwen3ForCausalLM"]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.5, 0.5)
    model.save_pretrained(path)
    return str(path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="Transformer Engine needs a GPU")
def test_round_trip_is_exact(hf_model_path):
    """What is imported and exported again is what was there, bit for bit."""
    assert scaffold_qwen3.__all__
    bridge = AutoBridge.from_hf_pretrained(hf_model_path)
    provider = bridge.to_megatron_provider(load_weights=True)
    provider.finalize()
    provider.initialize_model_parallel(seed=0)
    try:
        model = provider.provide_distributed_model(wrap_with_ddp=False)
        exported = dict(bridge.export_hf_weights(model, cpu=True, show_progress=False))
    finally:
        parallel_state.destroy_model_parallel()
    original = AutoModelForCausalLM.from_pretrained(hf_model_path, dtype=torch.float32).state_dict()
    missing = set(original) - set(exported)
    assert missing <= ({"lm_head.weight"} if bridge.hf_pretrained.config.tie_word_embeddings else set())
    for name, weight in exported.items():
        assert torch.equal(weight, original[name]), name
