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

# Qwen3 12B: fine-tuning with LoRA, TP=1, PP=1 on 1 H100.
#
# Usage: set the account, then submit from the root of the repository, after conversion.sh:
#   mkdir -p logs
#   CONTAINER_IMAGE=/path/to/container.sqsh sbatch examples/models/qwen3/qwen3/slurm_peft.sh

#SBATCH --job-name=qwen3_12b_peft
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --time=24:00:00
#SBATCH --partition=batch
#SBATCH --account=my_account
#SBATCH --output=logs/qwen3_12b_peft_%j.log
#SBATCH --exclusive

set -euo pipefail

: "${CONTAINER_IMAGE:?Set CONTAINER_IMAGE to the Megatron Bridge container}"

WORKSPACE="${WORKSPACE:-/workspace}"
MODEL_NAME=qwen3_12b
RECIPE_NAME=qwen3_12b_peft_config
PRETRAINED_CHECKPOINT="${PRETRAINED_CHECKPOINT:-${WORKSPACE}/models/${MODEL_NAME}}"
SAVE_DIR="${SAVE_DIR:-${WORKSPACE}/results/${MODEL_NAME}_peft}"
TRAIN_ITERS="${TRAIN_ITERS:-1000}"
SEQ_LENGTH="${SEQ_LENGTH:-2048}"

export TORCH_NCCL_AVOID_RECORD_STREAMS=1
export NCCL_NVLS_ENABLE=0

SRUN=(srun --mpi=pmix --container-image="$CONTAINER_IMAGE")
if [[ -n "${CONTAINER_MOUNTS:-}" ]]; then
    SRUN+=(--container-mounts="$CONTAINER_MOUNTS")
fi

OVERRIDES=(
    "checkpoint.pretrained_checkpoint=${PRETRAINED_CHECKPOINT}"
    "checkpoint.save=${SAVE_DIR}"
    "checkpoint.load=${SAVE_DIR}"
    "train.train_iters=${TRAIN_ITERS}"
    "model.tensor_model_parallel_size=1"
    "model.pipeline_model_parallel_size=1"
    "model.seq_length=${SEQ_LENGTH}"
    "dataset.seq_length=${SEQ_LENGTH}"
)

"${SRUN[@]}" uv run --no-sync python scripts/training/run_recipe.py \
    --recipe "$RECIPE_NAME" \
    --mode lora \
    "${OVERRIDES[@]}" \
    "$@"
