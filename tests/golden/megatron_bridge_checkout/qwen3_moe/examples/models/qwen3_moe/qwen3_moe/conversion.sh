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

# Qwen3Moe 15B-A1.8B: Hugging Face to Megatron, back again, and a comparison of both on GPUs.
#
# Usage, from the root of the repository:
#   examples/models/qwen3_moe/qwen3_moe/conversion.sh

set -euo pipefail

WORKSPACE="${WORKSPACE:-/workspace}"
HF_MODEL_ID="${HF_MODEL_ID:-path/to/model}"
MODEL_NAME=qwen3_15b_a1p8b

./scripts/conversion/convert.sh import \
    --hf-model "$HF_MODEL_ID" \
    --megatron-path "${WORKSPACE}/models/${MODEL_NAME}"

./scripts/conversion/convert.sh export \
    --hf-model "$HF_MODEL_ID" \
    --megatron-path "${WORKSPACE}/models/${MODEL_NAME}/iter_0000000" \
    --hf-path "${WORKSPACE}/models/${MODEL_NAME}-hf-export"

./scripts/conversion/convert.sh roundtrip \
    --executor local --gpus-per-node 1 \
    --device gpu \
    --hf-model "$HF_MODEL_ID" \
    --tp 1 --pp 1 --ep 1 \
    "$@"
