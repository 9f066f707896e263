"""Which parallel layout a recipe starts from: the fewest GPUs that hold the model, by rules in a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.targets.megatron_bridge.recipes.memory import Memory, Split, Task, estimate
from scaffold_tools.targets.megatron_bridge.recipes.size import ModelSize

NODE = 8
"""GPUs that NVLink joins: tensor parallelism stays inside."""
_TENSOR = (1, 2, 4, 8)
_PIPELINE = (1, 2, 4, 8, 16)
_EXPERT = (1, 2, 4, 8, 16, 32, 64)
_WORLDS = tuple(2**power for power in range(11))


@dataclass(frozen=True)
class Rule:
    """One reason for which a layout is left out."""

    name: str
    reason: str
    allows: Callable[[Blueprint, Split], bool]


def _divides(number: int | None, by: int) -> bool:
    return not number or number % by == 0


_SPLIT_BY_HEAD = (
    *("num_attention_heads", "mamba.heads", "mamba.groups", "delta.key_heads", "delta.value_heads"),
    *("lru.heads", "lightning.heads"),
)
_SPLIT_BY_CHANNEL = ("ffn_hidden_size", "selective.inner", "short_conv.channels", "lru.width", "moe.shared_width")


def _latent(blueprint: Blueprint) -> bool:
    return blueprint.value("mla.kv_rank") is not None


RULES: tuple[Rule, ...] = (
    Rule(
        "heads",
        "tensor parallelism gives each GPU whole heads",
        lambda b, split: all(_divides(b.value(name), split.tp) for name in _SPLIT_BY_HEAD),
    ),
    Rule(
        "groups",
        "with more GPUs than key/value heads, heads would be copied",
        lambda b, split: _latent(b) or _divides(b.value("num_query_groups"), split.tp),
    ),
    Rule(
        "channels",
        "tensor parallelism gives each GPU the same share of channels",
        lambda b, split: all(_divides(b.value(name), split.tp) for name in _SPLIT_BY_CHANNEL),
    ),
    Rule(
        "experts",
        "expert parallelism gives each GPU the same number of experts, and there is none without experts",
        lambda b, split: split.ep == 1 or (b.value("moe.num_experts") or 1) % split.ep == 0,
    ),
    Rule(
        "layers",
        "every pipeline stage has at least one layer, and all but the last have equally many or one more",
        lambda b, split: int(b.value("num_layers") or 1) >= split.pp,
    ),
)
"""What every layout must obey."""


@dataclass(frozen=True)
class Choice:
    """The layout of one task."""

    task: Task
    split: Split
    memory: Memory
    seq_length: int
    even: bool
    """The layers divide among the stages, so that no layout of stages has to be spelled out."""


def choose(blueprint: Blueprint, size: ModelSize, task: Task, seq_length: int) -> Choice:
    """The layout of one task: the first that fits, of the fewest GPUs, in the order of `_preference`.

    Where none of 1024 GPUs fits, the one that needs least is returned; its `memory.fits` is false.
    """
    fullest: Choice | None = None
    for world in _WORLDS:
        found = [
            Choice(task, split, estimate(size, split, task, seq_length), seq_length, _even(blueprint, split))
            for split in _splits(world)
            if (task != "inference" or _generates(blueprint, split))
            and all(rule.allows(blueprint, split) for rule in RULES)
        ]
        fitting = [choice for choice in found if choice.memory.fits]
        if fitting:
            return min(fitting, key=_preference)
        least = min(found, key=lambda choice: choice.memory.total, default=fullest)
        if least is None:
            continue
        if fullest is None or least.memory.total < fullest.memory.total:
            fullest = least
    assert fullest is not None  # TP=PP=EP=1 obeys every rule
    return fullest


def _generates(blueprint: Blueprint, split: Split) -> bool:
    """The scripts that convert and generate want no replicas, and are not told of stages of different length."""
    return split.tp * split.pp * split.ep == split.world and _even(blueprint, split)


def _preference(choice: Choice) -> tuple[bool, bool, int, int, int]:
    """No recomputation before some; even stages before uneven ones; then as little of PP, TP and EP as will do.

    Pipeline stages wait for each other, tensor parallelism communicates in every layer, expert parallelism twice in a
    layer with experts: in this order they cost. What is left over is data parallelism, which overlaps with computing.
    """
    split = choice.split
    return split.recompute, not choice.even, split.pp, split.tp, split.ep


def _splits(world: int) -> Iterator[Split]:
    for recompute in (False, True):
        for pp in _PIPELINE:
            for tp in _TENSOR:
                for ep in _EXPERT:
                    if world % (pp * math.lcm(tp, ep)) == 0:
                        yield Split(tp, pp, ep, world, recompute)


def _even(blueprint: Blueprint, split: Split) -> bool:
    return int(blueprint.value("num_layers") or 1) % split.pp == 0


def global_batch_size(split: Split, usual: int) -> int:
    """Sequences of a step: the usual number, or as many as keep every stage of every replica busy."""
    return max(usual, split.dp * split.pp)
