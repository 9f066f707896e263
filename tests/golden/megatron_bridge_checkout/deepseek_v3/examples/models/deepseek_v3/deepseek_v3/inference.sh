#!/usr/bin/env bash
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

# DeepseekV3 671B-A38B: generate text from the Hugging Face checkpoint, and from the imported Megatron checkpoint.
#
# Usage, from the root of the repository, after conversion.sh:
#   PROMPT="What is artificial intelligence?" examples/models/deepseek_v3/deepseek_v3/inference.sh
#
# The model needs 64 GPUs: run this on 8 nodes, with MASTER_ADDR and NODE_RANK set on each.

set -euo pipefail

WORKSPACE="${WORKSPACE:-/workspace}"
HF_MODEL_ID="${HF_MODEL_ID:-path/to/model}"
MODEL_NAME=deepseek_v3_671b_a38b
PROMPT="${PROMPT:-What is artificial intelligence?}"
MAX_NEW_TOKENS="${MAX_NEW_TOKENS:-64}"

LAUNCH=(uv run python -m torch.distributed.run --nproc_per_node=8)
LAUNCH+=(--nnodes=8 --node_rank="${NODE_RANK:-0}" --master_addr="${MASTER_ADDR:-127.0.0.1}")
ARGS=(
    --hf_model_path "$HF_MODEL_ID"
    --prompt "$PROMPT"
    --max_new_tokens "$MAX_NEW_TOKENS"
    --tp 1 --pp 1 --ep 64
)

"${LAUNCH[@]}" examples/conversion/hf_to_megatron_generate_text.py "${ARGS[@]}"

"${LAUNCH[@]}" examples/conversion/hf_to_megatron_generate_text.py "${ARGS[@]}" \
    --megatron_model_path "${WORKSPACE}/models/${MODEL_NAME}/iter_0000000"
