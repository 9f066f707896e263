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

import importlib
import inspect

import pytest
from transformers import AutoConfig

from megatron.bridge.peft.dora import DoRA
from megatron.bridge.peft.lora import LoRA
from megatron.bridge.training.config import ConfigContainer


pytestmark = pytest.mark.unit

RECIPES = importlib.import_module("megatron.bridge.recipes.qwen3.h100.qwen3_12b")

# A small model of this architecture: recipes read its config from disk.
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

TOPOLOGIES = [
    ("qwen3_12b_pretrain_4gpu_h100_bf16_config", 4, 1, 1, 4),
    ("qwen3_12b_sft_4gpu_h100_bf16_config", 4, 1, 1, 4),
    ("qwen3_12b_peft_1gpu_h100_bf16_config", 1, 1, 1, 1),
]


@pytest.fixture(autouse=True)
def _local_config(tmp_path, monkeypatch):
    """Give the recipes a config on disk in the place of the hub's."""
    config = AutoConfig.for_model(**HF_CONFIG)
    config.architectures = ["Qwen3ForCausalLM"]
    config.save_pretrained(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(RECIPES, "_HF_PATH", str(tmp_path))


@pytest.mark.parametrize(("name", "tp", "pp", "ep", "gpus"), TOPOLOGIES)
def test_recipe_builds_with_its_topology(name, tp, pp, ep, gpus, tmp_path):
    """Every recipe builds offline, for the number of GPUs in its name."""
    recipe = getattr(RECIPES, name)
    inspect.signature(recipe).bind()

    cfg = recipe()

    assert isinstance(cfg, ConfigContainer)
    assert cfg.tokenizer.tokenizer_model == str(tmp_path)
    assert cfg.model.tensor_model_parallel_size == tp
    assert cfg.model.pipeline_model_parallel_size == pp
    assert cfg.model.expert_model_parallel_size == ep
    assert cfg.model.sequence_parallel is (tp > 1)
    assert gpus % (tp * pp) == 0
    assert gpus % (ep * pp) == 0
    assert cfg.train.global_batch_size % (cfg.train.micro_batch_size * (gpus // (tp * pp))) == 0
    assert cfg.model.seq_length == cfg.dataset.seq_length
    assert f"_{gpus}gpu_" in name


@pytest.mark.parametrize("name", [topology[0] for topology in TOPOLOGIES])
def test_recipe_has_a_short_name(name):
    """The alias without hardware and precision is the same function."""
    package = importlib.import_module("megatron.bridge.recipes.qwen3")
    alias = "_".join((*name.split("gpu_")[0].split("_")[:-1], "config"))
    assert getattr(package, alias) is getattr(RECIPES, name)


@pytest.mark.parametrize("name", [topology[0] for topology in TOPOLOGIES])
def test_recipe_is_exported(name):
    """The recipe package exports it."""
    assert getattr(importlib.import_module("megatron.bridge.recipes"), name) is getattr(RECIPES, name)


def test_pretraining_starts_without_adapters():
    """Nothing is adapted or loaded before pre-training."""
    cfg = RECIPES.qwen3_12b_pretrain_4gpu_h100_bf16_config()
    assert cfg.peft is None
    assert cfg.checkpoint.pretrained_checkpoint is None


@pytest.mark.parametrize(("scheme", "kind"), [("lora", LoRA), ("dora", DoRA)])
def test_adapters(scheme, kind):
    """Each scheme sets up its adapters."""
    cfg = RECIPES.qwen3_12b_peft_1gpu_h100_bf16_config(peft_scheme=scheme)
    assert isinstance(cfg.peft, kind)


def test_an_instance_of_adapters_is_kept():
    """A PEFT instance is taken as it is."""
    own = LoRA(dim=4, target_modules=["linear_proj"])
    assert RECIPES.qwen3_12b_peft_1gpu_h100_bf16_config(peft_scheme=own).peft is own
    assert own.target_modules == ["linear_proj"]
