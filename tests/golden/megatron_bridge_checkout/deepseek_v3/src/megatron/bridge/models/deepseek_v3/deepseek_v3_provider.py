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

"""Provider of DeepseekV3 models."""

from collections.abc import Callable
from dataclasses import dataclass

from megatron.core.transformer import ModuleSpec

from megatron.bridge.models.deepseek_v3.modeling_deepseek_v3 import deepseek_v3_block_spec
from megatron.bridge.models.gpt_provider import GPTModelProvider
from megatron.bridge.models.mla_provider import MLAModelProvider


@dataclass
class DeepseekV3ModelProvider(MLAModelProvider):
    """Configuration and provider for Megatron Core DeepseekV3 models."""

    transformer_layer_spec: ModuleSpec | Callable[[GPTModelProvider], ModuleSpec] = deepseek_v3_block_spec

    # What the bridge sets for every config of the family, so that a provider made by hand has it, too.
    position_embedding_type: str = "rope"
    normalization: str = "RMSNorm"
    moe_router_score_function: str = "sigmoid"
    moe_router_enable_expert_bias: bool = True
    moe_router_dtype: str = "fp32"
    gated_linear_unit: bool = True
    add_bias_linear: bool = False
    moe_grouped_gemm: bool = True
    moe_token_dispatcher_type: str = "alltoall"
    moe_permute_fusion: bool = True
    moe_router_load_balancing_type: str = "none"
    multi_latent_attention: bool = True
    qk_layernorm: bool = True

    latent_layernorm_epsilon: float = 1e-6
    """Epsilon of the norms on the latents."""
