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

    latent_layernorm_epsilon: float = 1e-6
    """Epsilon of the norms on the latents."""
