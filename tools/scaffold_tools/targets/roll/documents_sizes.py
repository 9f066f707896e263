"""How many GPUs examples ask for and how they split the model: one rule from counted parameters, no table of models.

Memory of training, a parameter: 2 bytes of weight in bf16 and 4 of gradient in fp32 on every rank that holds it, and
12 of Adam (fp32 weight and two moments), which Megatron's distributed optimizer and FSDP spread over all ranks. These
have to fit into 60 % of an 80 GB GPU; the rest is for activations. The engine's weights, 2 bytes a parameter, have to
fit into half of one, so that the key-value cache keeps the rest of what `gpu_memory_utilization` leaves.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from scaffold_tools.blueprint.facts import Blueprint

GPU_BYTES = 80e9
TRAINING_BYTES = 0.6 * GPU_BYTES
ENGINE_BYTES = 0.5 * GPU_BYTES
HELD, SPREAD = 6, 12
"""Bytes a parameter: on every rank that holds it, and once over all ranks."""
NODE = 8
"""GPUs of a node: neither tensor nor expert parallelism leaves it."""
_MOST_NODES = 128
_STAGES = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Parameters:
    """Counted from the table of tensors."""

    dense: int
    expert: int
    """All routed experts together."""
    active: int
    """What one token goes through."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.dense + self.expert

    @property
    def label(self) -> str:
        """`8B`, `30BA3B`: as ROLL names its examples."""
        return _billions(self.total) + (f"A{_billions(self.active)}" if self.expert else "")


@dataclass(frozen=True)
class Sizes:
    """What the examples ask for."""

    parameters: Parameters
    tensor: int
    pipeline: int
    expert: int
    gpus: int
    """For training with Megatron; the engine shares them."""
    engine_tensor: int
    sharded_gpus: int
    """For training with FSDP2 or DeepSpeed."""

    @property
    def data(self) -> int:
        """Copies of the model under Megatron."""
        return self.gpus // (self.tensor * self.pipeline)


def count(blueprint: Blueprint) -> Parameters:
    """Count the parameters of a blueprint's tensors."""
    experts = blueprint.value("moe.num_experts") or 1
    top_k = blueprint.value("moe.top_k") or experts
    dense = expert = 0
    for row in blueprint.roles:
        layers = 1 if row.layers is None else len(row.layers)
        routed = row.role.startswith("moe.expert.")
        each = experts if routed and row.pattern.count("*") > 1 else 1
        number = math.prod(row.shape) * layers * each
        expert, dense = (expert + number, dense) if routed else (expert, dense + number)
    return Parameters(dense, expert, dense + expert * top_k // experts)


def choose_sizes(blueprint: Blueprint, *, engine_splits: bool = True) -> Sizes:
    """Apply the rule.

    Fewest GPUs that hold the model; among splits of those the fewest stages, then the narrowest tensor split. Experts
    are spread over as many ranks of a node as divide them.

    Args:
        engine_splits: whether the engine can split this model.
    """
    parameters = count(blueprint)
    widths = list(_widths(blueprint))
    spread = next(width for width in (8, 4, 2, 1) if (blueprint.value("moe.num_experts") or 1) % width == 0)
    spread = spread if parameters.expert else 1
    tensor, pipeline, gpus = _split(blueprint, parameters, widths, spread)
    engine = next((width for width in widths if 2 * parameters.total / width <= ENGINE_BYTES), widths[-1])
    sharded = (HELD + SPREAD) * parameters.total
    return Sizes(
        parameters=parameters,
        tensor=tensor,
        pipeline=pipeline,
        expert=spread,
        gpus=gpus,
        engine_tensor=engine if engine_splits else 1,
        sharded_gpus=next((nodes * NODE for nodes in _nodes() if sharded / (nodes * NODE) <= TRAINING_BYTES), 1024),
    )


def _split(blueprint: Blueprint, parameters: Parameters, widths: list[int], spread: int) -> tuple[int, int, int]:
    """(tensor, pipeline, GPUs); the largest split there is where not even that fits."""
    layers = blueprint.value("num_layers") or 1
    stages = [stage for stage in _STAGES if layers % stage == 0]
    for nodes, stage, width in itertools.product(_nodes(), stages, widths):
        gpus = nodes * NODE
        if gpus % (stage * width * spread):
            continue
        held = (parameters.dense + parameters.expert / spread) / (stage * width)
        if HELD * held + SPREAD * parameters.total / gpus <= TRAINING_BYTES:
            return width, stage, gpus
    return widths[-1], stages[-1], _MOST_NODES * NODE


def _nodes() -> Iterator[int]:
    return (2**power for power in range(_MOST_NODES.bit_length()))


def _widths(blueprint: Blueprint) -> Iterator[int]:
    """Widths of a tensor split within a node: they divide the heads and the groups of keys and values."""
    heads = blueprint.value("num_attention_heads") or 1
    groups = blueprint.value("num_query_groups") or heads
    return (width for width in (1, 2, 4, 8) if heads % width == 0 and groups % width == 0)


def _billions(number: int) -> str:
    billions = number / 1e9
    if billions < 0.1:
        return f"{number / 1e6:.0f}M"
    return f"{billions:.0f}B" if billions >= 2.95 else f"{billions:.1f}".rstrip("0").rstrip(".") + "B"
