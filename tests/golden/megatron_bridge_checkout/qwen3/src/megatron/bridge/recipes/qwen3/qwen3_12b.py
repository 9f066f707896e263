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
# ruff: noqa: F401
"""Short names of the Qwen3 12B recipes."""

from megatron.bridge.recipes.qwen3.h100.qwen3_12b import qwen3_12b_peft_1gpu_h100_bf16_config as qwen3_12b_peft_config
from megatron.bridge.recipes.qwen3.h100.qwen3_12b import (
    qwen3_12b_pretrain_4gpu_h100_bf16_config as qwen3_12b_pretrain_config,
)
from megatron.bridge.recipes.qwen3.h100.qwen3_12b import qwen3_12b_sft_4gpu_h100_bf16_config as qwen3_12b_sft_config


__all__ = [
    "qwen3_12b_peft_config",
    "qwen3_12b_pretrain_config",
    "qwen3_12b_sft_config",
]
