"""What one GPU has to hold while a model trains: an estimate from shapes, to choose a parallel layout by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scaffold_tools.targets.megatron_bridge.recipes.size import ModelSize

Task = Literal["pretrain", "sft", "peft", "inference"]

H100_BYTES = 80 * 10**9
"""Memory of the GPU that recipes are named after."""
USABLE = 0.9
"""The rest is left to the CUDA context, NCCL's buffers, workspaces, fragmentation and uneven routing."""
BUDGET = int(H100_BYTES * USABLE)

WEIGHT, GRADIENT, OPTIMIZER = 2, 4, 12
"""Bytes a parameter: bf16 weight; fp32 main gradient; fp32 master weight and Adam's two fp32 moments."""
LOGIT = 6
"""Bytes a logit: bf16 and its fp32 copy for the loss."""


@dataclass(frozen=True)
class Split:
    """A parallel layout. Experts are not split by tensors (ETP=1), sequences not by context (CP=1)."""

    tp: int = 1
    pp: int = 1
    ep: int = 1
    world: int = 1
    """GPUs in all."""
    recompute: bool = False
    """Full recomputation, layer by layer."""

    @property
    def dp(self) -> int:
        """Replicas of what is outside routed experts."""
        return self.world // (self.tp * self.pp)

    @property
    def expert_dp(self) -> int:
        """Replicas of a routed expert."""
        return max(self.world // (self.pp * self.ep), 1)


@dataclass(frozen=True)
class Memory:
    """Bytes on the fullest GPU."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations

    @property
    def fits(self) -> bool:
        """Whether it is within nine tenths of an H100."""
        return self.total <= BUDGET


def estimate(size: ModelSize, split: Split, task: Task, seq_length: int) -> Memory:
    """Bytes on the fullest GPU of a layout, with a micro-batch of one sequence.

    Weights, gradients and optimizer: `2 + 4 + 12/DP` bytes a parameter, as Megatron-LM's
    `training/theoretical_memory_utils.py` has it for bf16 and a distributed optimizer (`6 + 12 / data_parallel_size`);
    routed experts are divided by PP*EP and replicated world/(PP*EP) times, the rest by PP*TP and world/(PP*TP) times.
    With adapters only those have gradients and optimizer states; they are counted whole on every GPU of a stage.

    Activations: two bytes for each number of `ModelSize.activations`, divided by TP (sequence parallelism splits what
    tensor parallelism leaves whole). The first of PP stages keeps PP micro-batches in flight under the 1F1B schedule,
    which makes up for its having 1/PP of the layers (Narayanan et al. 2021, https://arxiv.org/abs/2104.04473, 2.2.1).
    With full recomputation each layer keeps its input, and one layer at a time has everything. The last stage has
    `LOGIT` bytes for each logit.

    Args:
        size: counts of the model.
        split: the layout.
        task: what has gradients; `inference` has nothing but weights and one layer's activations.
        seq_length: tokens of the one sequence in a micro-batch.
    """
    per_stage = -(-size.num_layers // split.pp) if size.num_layers else 0
    share = per_stage / size.num_layers if size.num_layers else 1.0
    ends = size.embedding if split.pp == 1 else size.head
    dense = (size.dense * share + ends) / split.tp
    experts = size.experts * share / split.ep
    adapters = size.adapters * share if task == "peft" else 0.0
    trained = {"inference": (0.0, 0.0), "peft": (adapters, 0.0)}.get(task, (dense, experts))
    return Memory(
        weights=round(WEIGHT * (dense + experts + adapters)),
        gradients=round(GRADIENT * sum(trained)),
        optimizer=round(OPTIMIZER * (trained[0] / split.dp + trained[1] / split.expert_dp)),
        activations=round(_activations(size, split, task, seq_length, share)),
    )


def _activations(size: ModelSize, split: Split, task: Task, seq_length: int, share: float) -> float:
    """The fuller of the first stage, which has most micro-batches in flight, and the last, which has the logits."""
    layers = max(size.num_layers, 1)
    one_layer, kept = size.activations / layers, size.activations * share
    if split.recompute:
        kept = size.hidden_size * layers * share
    if task == "inference":
        kept = 0.0
    extra = one_layer if split.recompute or task == "inference" else 0.0
    first = 2 * (kept * split.pp + extra)
    last = 2 * (kept + extra) + LOGIT * size.vocab_size
    return seq_length * max(first, last) / split.tp
