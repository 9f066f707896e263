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

"""DeepseekV3 671B-A38B H100 training recipes."""

import torch

from megatron.bridge import AutoBridge
from megatron.bridge.peft.base import PEFT
from megatron.bridge.recipes.common import _peft_common, _pretrain_common, _sft_common
from megatron.bridge.recipes.utils.dataset_utils import default_peft_config
from megatron.bridge.recipes.utils.environment_utils import COMMON_RECIPE_ENV_VARS
from megatron.bridge.training.config import ConfigContainer


_HF_PATH = "path/to/model"
_NUM_LAYERS = 61


def get_deepseek_v3_671b_a38b_pipeline_layout(pp_size: int, vp_size: int | None) -> list[list[str]] | None:
    """Spread the layers over the pipeline stages; the first stages get one more where they do not divide.

    Args:
        pp_size: Pipeline stages.
        vp_size: Virtual stages of each of them.

    Returns:
        The layers of each stage, or None for a single stage.
    """
    stages = pp_size * (vp_size or 1)
    if stages == 1:
        return None
    if stages > _NUM_LAYERS:
        raise ValueError(f"DeepseekV3 has {_NUM_LAYERS} layers, which cannot be spread over {stages} stages.")
    layers, more = divmod(_NUM_LAYERS, stages)
    layout = [["decoder"] * (layers + int(stage < more)) for stage in range(stages)]
    layout[0].insert(0, "embedding")
    layout[-1].append("loss")
    return layout


def _apply_common(cfg: ConfigContainer) -> None:
    """Set what the recipes of this model share."""
    cfg.model = AutoBridge.from_hf_pretrained(_HF_PATH).to_megatron_provider(load_weights=False)
    cfg.tokenizer.tokenizer_model = _HF_PATH

    cfg.model.virtual_pipeline_model_parallel_size = None
    cfg.model.context_parallel_size = 1
    cfg.model.cross_entropy_loss_fusion = True
    cfg.model.cross_entropy_fusion_impl = "te"
    cfg.model.expert_tensor_parallel_size = 1
    cfg.model.moe_token_dispatcher_type = "alltoall"
    cfg.train.micro_batch_size = 1
    cfg.train.manual_gc = True
    cfg.train.manual_gc_interval = 100
    cfg.ddp.overlap_grad_reduce = True
    cfg.ddp.overlap_param_gather = True
    cfg.ddp.check_for_nan_in_grad = True
    cfg.ddp.use_distributed_optimizer = True


def deepseek_v3_671b_a38b_pretrain_256gpu_h100_bf16_config() -> ConfigContainer:
    """Return a pre-training config for DeepseekV3 671B-A38B.

    Parallelism: TP=8, PP=4, EP=64, sequence parallel.
    Estimated memory: 63.4 GB on the fullest GPU (weights 6.6, gradients 13.2, optimizer 33.1, activations 10.5).
    """
    cfg = _pretrain_common()
    _apply_common(cfg)

    cfg.model.tensor_model_parallel_size = 8
    cfg.model.pipeline_model_parallel_size = 4
    cfg.model.pipeline_dtype = torch.bfloat16
    cfg.model.expert_model_parallel_size = 64
    cfg.model.sequence_parallel = True
    cfg.model.seq_length = 4096
    cfg.model.pipeline_model_parallel_layout = get_deepseek_v3_671b_a38b_pipeline_layout(4, None)
    cfg.model.recompute_granularity = None
    cfg.model.recompute_method = None
    cfg.model.recompute_num_layers = None
    cfg.train.global_batch_size = 32
    cfg.dataset.seq_length = 4096
    cfg.dataset.num_workers = 8

    # Keep the complete process environment visible on the recipe.
    cfg.env_vars = {
        **COMMON_RECIPE_ENV_VARS,
    }
    return cfg


def deepseek_v3_671b_a38b_sft_256gpu_h100_bf16_config() -> ConfigContainer:
    """Return a full SFT config for DeepseekV3 671B-A38B.

    Parallelism: TP=4, PP=4, EP=64, sequence parallel.
    Estimated memory: 67.0 GB on the fullest GPU (weights 7.8, gradients 15.7, optimizer 33.1, activations 10.5).
    """
    cfg = _sft_common()
    _apply_common(cfg)

    cfg.model.tensor_model_parallel_size = 4
    cfg.model.pipeline_model_parallel_size = 4
    cfg.model.pipeline_dtype = torch.bfloat16
    cfg.model.expert_model_parallel_size = 64
    cfg.model.sequence_parallel = True
    cfg.model.seq_length = 2048
    cfg.model.pipeline_model_parallel_layout = get_deepseek_v3_671b_a38b_pipeline_layout(4, None)
    cfg.model.recompute_granularity = None
    cfg.model.recompute_method = None
    cfg.model.recompute_num_layers = None
    cfg.train.global_batch_size = 128

    # Keep the complete process environment visible on the recipe.
    cfg.env_vars = {
        **COMMON_RECIPE_ENV_VARS,
    }
    return cfg


def deepseek_v3_671b_a38b_peft_32gpu_h100_bf16_config(peft_scheme: str | PEFT = "lora") -> ConfigContainer:
    """Return a PEFT config for DeepseekV3 671B-A38B.

    Parallelism: TP=4, PP=1, EP=32, sequence parallel.
    Estimated memory: 62.1 GB on the fullest GPU (weights 50.0, gradients 1.2, optimizer 0.5, activations 10.4).

    Args:
        peft_scheme: "lora", "dora", or a PEFT instance.
    """
    cfg = _peft_common()
    _apply_common(cfg)

    cfg.model.tensor_model_parallel_size = 4
    cfg.model.pipeline_model_parallel_size = 1
    cfg.model.pipeline_dtype = None
    cfg.model.expert_model_parallel_size = 32
    cfg.model.sequence_parallel = True
    cfg.model.seq_length = 2048
    cfg.model.pipeline_model_parallel_layout = get_deepseek_v3_671b_a38b_pipeline_layout(1, None)
    cfg.model.recompute_granularity = None
    cfg.model.recompute_method = None
    cfg.model.recompute_num_layers = None
    cfg.train.global_batch_size = 128

    cfg.peft = default_peft_config(peft_scheme)
    if isinstance(peft_scheme, str):
        cfg.peft.target_modules = [
            "linear_q_down_proj",
            "linear_q_up_proj",
            "linear_kv_down_proj",
            "linear_kv_up_proj",
            "linear_proj",
            "linear_fc1",
            "linear_fc2",
        ]

    # Keep the complete process environment visible on the recipe.
    cfg.env_vars = {
        **COMMON_RECIPE_ENV_VARS,
    }
    return cfg


__all__ = [
    "deepseek_v3_671b_a38b_peft_32gpu_h100_bf16_config",
    "deepseek_v3_671b_a38b_pretrain_256gpu_h100_bf16_config",
    "deepseek_v3_671b_a38b_sft_256gpu_h100_bf16_config",
]
