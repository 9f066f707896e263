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

"""Qwen3 12B H100 training recipes."""

from megatron.bridge import AutoBridge
from megatron.bridge.peft.base import PEFT
from megatron.bridge.recipes.common import _peft_common, _pretrain_common, _sft_common
from megatron.bridge.recipes.utils.dataset_utils import default_peft_config
from megatron.bridge.recipes.utils.environment_utils import COMMON_RECIPE_ENV_VARS
from megatron.bridge.training.config import ConfigContainer


_HF_PATH = "path/to/model"


def _apply_common(cfg: ConfigContainer) -> None:
    """Set what the recipes of this model share."""
    cfg.model = AutoBridge.from_hf_pretrained(_HF_PATH).to_megatron_provider(load_weights=False)
    cfg.tokenizer.tokenizer_model = _HF_PATH

    cfg.model.virtual_pipeline_model_parallel_size = None
    cfg.model.context_parallel_size = 1
    cfg.model.cross_entropy_loss_fusion = True
    cfg.model.cross_entropy_fusion_impl = "te"
    cfg.train.micro_batch_size = 1
    cfg.train.manual_gc = True
    cfg.train.manual_gc_interval = 100
    cfg.ddp.overlap_grad_reduce = True
    cfg.ddp.overlap_param_gather = True
    cfg.ddp.check_for_nan_in_grad = True
    cfg.ddp.use_distributed_optimizer = True


def qwen3_12b_pretrain_4gpu_h100_bf16_config() -> ConfigContainer:
    """Return a pre-training config for Qwen3 12B.

    Parallelism: TP=4, PP=1, sequence parallel.
    Estimated memory: 61.6 GB on the fullest GPU (weights 6.0, gradients 12.0, optimizer 36.1, activations 7.4).
    """
    cfg = _pretrain_common()
    _apply_common(cfg)

    cfg.model.tensor_model_parallel_size = 4
    cfg.model.pipeline_model_parallel_size = 1
    cfg.model.pipeline_dtype = None
    cfg.model.sequence_parallel = True
    cfg.model.seq_length = 4096
    cfg.model.pipeline_model_parallel_layout = None
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


def qwen3_12b_sft_4gpu_h100_bf16_config() -> ConfigContainer:
    """Return a full SFT config for Qwen3 12B.

    Parallelism: TP=4, PP=1, sequence parallel.
    Estimated memory: 57.9 GB on the fullest GPU (weights 6.0, gradients 12.0, optimizer 36.1, activations 3.7).
    """
    cfg = _sft_common()
    _apply_common(cfg)

    cfg.model.tensor_model_parallel_size = 4
    cfg.model.pipeline_model_parallel_size = 1
    cfg.model.pipeline_dtype = None
    cfg.model.sequence_parallel = True
    cfg.model.seq_length = 2048
    cfg.model.pipeline_model_parallel_layout = None
    cfg.model.recompute_granularity = None
    cfg.model.recompute_method = None
    cfg.model.recompute_num_layers = None
    cfg.train.global_batch_size = 128

    # Keep the complete process environment visible on the recipe.
    cfg.env_vars = {
        **COMMON_RECIPE_ENV_VARS,
    }
    return cfg


def qwen3_12b_peft_1gpu_h100_bf16_config(peft_scheme: str | PEFT = "lora") -> ConfigContainer:
    """Return a PEFT config for Qwen3 12B.

    Parallelism: TP=1, PP=1.
    Estimated memory: 41.0 GB on the fullest GPU (weights 24.3, gradients 0.5, optimizer 1.4, activations 14.8).

    Args:
        peft_scheme: "lora", "dora", or a PEFT instance.
    """
    cfg = _peft_common()
    _apply_common(cfg)

    cfg.model.tensor_model_parallel_size = 1
    cfg.model.pipeline_model_parallel_size = 1
    cfg.model.pipeline_dtype = None
    cfg.model.sequence_parallel = False
    cfg.model.seq_length = 2048
    cfg.model.pipeline_model_parallel_layout = None
    cfg.model.recompute_granularity = None
    cfg.model.recompute_method = None
    cfg.model.recompute_num_layers = None
    cfg.train.global_batch_size = 128

    cfg.peft = default_peft_config(peft_scheme)

    # Keep the complete process environment visible on the recipe.
    cfg.env_vars = {
        **COMMON_RECIPE_ENV_VARS,
    }
    return cfg


__all__ = [
    "qwen3_12b_peft_1gpu_h100_bf16_config",
    "qwen3_12b_pretrain_4gpu_h100_bf16_config",
    "qwen3_12b_sft_4gpu_h100_bf16_config",
]
