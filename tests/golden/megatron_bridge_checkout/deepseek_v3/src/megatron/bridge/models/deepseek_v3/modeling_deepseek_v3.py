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

"""Modules of DeepseekV3 that differ from stock Megatron Core."""

from megatron.core.models.gpt.gpt_layer_specs import get_gpt_decoder_block_spec
from megatron.core.transformer import TransformerConfig
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules

from megatron.bridge.utils.import_utils import safe_import_from


TEColumnParallelLinear, _ = safe_import_from("megatron.core.extensions.transformer_engine", "TEColumnParallelLinear")
TENorm, _ = safe_import_from("megatron.core.extensions.transformer_engine", "TENorm")


class DeepseekV3LatentNorm:
    """Norm of a latent, with an epsilon of its own."""

    def __new__(cls, hidden_size: int, config: TransformerConfig, eps: float):
        return TENorm(config=config, hidden_size=hidden_size, eps=config.latent_layernorm_epsilon)


def deepseek_v3_block_spec(config: TransformerConfig, vp_stage: int | None = None) -> TransformerBlockSubmodules:
    """Transformer Engine layers of one pipeline stage, with the modules of DeepseekV3."""
    spec = get_gpt_decoder_block_spec(config, use_transformer_engine=True, vp_stage=vp_stage)
    for layer_spec in spec.layer_specs:
        layer = layer_spec.submodules
        attention = layer.self_attention
        attention.submodules.linear_q_up_proj = TEColumnParallelLinear
        attention.submodules.q_layernorm = DeepseekV3LatentNorm
        attention.submodules.linear_kv_up_proj = TEColumnParallelLinear
        attention.submodules.kv_layernorm = DeepseekV3LatentNorm
    return spec
