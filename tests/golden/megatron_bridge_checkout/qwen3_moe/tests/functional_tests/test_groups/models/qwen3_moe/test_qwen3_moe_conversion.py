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

import json
import subprocess
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM


REPOSITORY = Path(__file__).resolve().parents[5]

HF_TOY_MODEL_CONFIG = {
    "architectures": ["Qwen3MoeForCausalLM"],
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
    "intermediate_size": 6144,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
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
    "attention_dropout": 0.0,
    "decoder_sparse_step": 1,
    "moe_intermediate_size": 96,
    "num_experts_per_tok": 2,
    "num_local_experts": 128,
    "norm_topk_prob": False,
    "output_router_logits": False,
    "router_aux_loss_coef": 0.001,
    "mlp_only_layers": [],
    "model_type": "qwen3_moe",
    "output_attentions": False,
    "torch_dtype": "bfloat16",
}


class TestQwen3MoeConversion:
    """Test Qwen3Moe conversion of a toy model with different parallelism configurations."""

    @pytest.fixture(scope="class")
    def toy_model_path(self, tmp_path_factory):
        """Create and save a toy model with random weights, biases and norms included."""
        model_dir = tmp_path_factory.mktemp("qwen3_moe") / "qwen3_moe_toy"
        config = AutoConfig.for_model(**HF_TOY_MODEL_CONFIG)
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.uniform_(-0.5, 0.5)
        model.save_pretrained(model_dir)
        return str(model_dir)

    def test_toy_model_creation(self, toy_model_path):
        """Test that the toy model is saved with its config and weights."""
        config = json.loads((Path(toy_model_path) / "config.json").read_text())
        assert config["model_type"] == "qwen3_moe"
        assert (Path(toy_model_path) / "model.safetensors").exists()

    @pytest.mark.run_only_on("GPU")
    @pytest.mark.parametrize("tp,pp,ep", [(2, 1, 1), (1, 2, 1), (1, 1, 2)])
    def test_conversion_parallelism(self, toy_model_path, tmp_path, tp, pp, ep):
        """Test the round trip with tensor, with pipeline and with expert parallelism."""
        command = [
            "python",
            "-m",
            "torch.distributed.run",
            "--nproc_per_node=2",
            "--nnodes=1",
            "-m",
            "coverage",
            "run",
            f"--data-file={REPOSITORY / '.coverage'}",
            f"--source={REPOSITORY}",
            "--parallel-mode",
            "examples/conversion/hf_megatron_roundtrip_multi_gpu.py",
            "--hf-model-id",
            toy_model_path,
            "--output-dir",
            str(tmp_path),
            "--tp",
            str(tp),
            "--pp",
            str(pp),
            "--ep",
            str(ep),
        ]
        result = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
        assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"

        converted = tmp_path / Path(toy_model_path).name
        config = json.loads((converted / "config.json").read_text())
        assert config["model_type"] == "qwen3_moe"
        original = AutoModelForCausalLM.from_pretrained(toy_model_path, dtype=torch.bfloat16).state_dict()
        exported = AutoModelForCausalLM.from_pretrained(converted, dtype=torch.bfloat16).state_dict()
        assert set(exported) == set(original)
        for name, weight in original.items():
            assert torch.equal(exported[name], weight), name
