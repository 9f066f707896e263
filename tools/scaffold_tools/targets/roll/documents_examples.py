"""Example configs: how a model is trained, with each strategy that trains it and each engine that rolls it out.

Where an engine takes the model the example is reinforcement learning with a rule-based reward; where none does, it is
fine-tuning, which needs none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.targets.roll.documents_sizes import Sizes, choose_sizes
from scaffold_tools.targets.roll.documents_support import Support
from scaffold_tools.targets.roll.engines import EngineSupport

PROMPT, RESPONSE = 2048, 4096
"""Tokens, unless the model's context is shorter."""
ROLLOUT, RETURNS = 64, 8
"""Prompts a step and answers to each, as in ROLL's own examples."""
_ACCUMULATION = 32
_ZERO3 = "examples/config/deepspeed_zero3.yaml"
"""Where a ROLL with DeepSpeed keeps the settings that its examples refer to."""

FAMILIES = ("megatron", "fsdp2", "deepspeed")


@dataclass(frozen=True)
class Example:
    """One file of an example."""

    path: str
    template: str
    summary: str
    context: dict[str, Any]
    executable: bool = False


@dataclass(frozen=True)
class Command:
    """What documents say of an example."""

    family: str
    engine: str | None
    config: str
    """`examples/qwen3-8B-rlvr_megatron/rlvr_config.yaml`."""
    script: str


def sizes_of(blueprint: Blueprint, support: Support) -> Sizes:
    """The sizes of all examples of a model."""
    return choose_sizes(blueprint, engine_splits=not any(row.one_gpu for row in support.serving))


def examples(
    blueprint: Blueprint, support: Support, *, stem: str, model_id: str, checkout: Path
) -> tuple[list[Example], list[Command]]:
    """Files, and how to run them.

    Args:
        stem: what folders are called after (`qwen3`).
        model_id: `org/name`, or a placeholder.
        checkout: the ROLL, whose settings of DeepSpeed are referred to where it has them.
    """
    sizes = sizes_of(blueprint, support)
    files: list[Example] = []
    commands: list[Command] = []
    for family in FAMILIES:
        if not support.trains(family) or (family == "deepspeed" and not (checkout / _ZERO3).is_file()):
            continue
        pipeline = "rlvr" if support.serving else "sft"
        folder = f"examples/{stem.replace('_', '-')}-{sizes.parameters.label}-{pipeline}_{family}"
        for name, engine in _configs(support, pipeline):
            suffix = name.removeprefix(f"{pipeline}_config")
            experiment = f"{folder.removeprefix('examples/')}{suffix}".replace("_", "-")
            words = _words(blueprint, sizes, family, engine) | {"model_id": model_id, "exp_name": experiment}
            config = f"{folder}/{name}.yaml"
            files.append(
                Example(config, f"examples/{pipeline}_config.yaml.j2", f"example, {_title(family, engine)}", words)
            )
            script = f"{folder}/run_{pipeline}_pipeline{suffix}.sh"
            start = {"pipeline": pipeline, "config": name}
            files.append(Example(script, "examples/run.sh.j2", "starts the example", start, executable=True))
            commands.append(Command(family, engine.engine if engine else None, config, script))
    return files, commands


def _configs(support: Support, pipeline: str) -> Iterator[tuple[str, EngineSupport | None]]:
    """Names of configs with their engines: the first has the plain name."""
    rows = support.serving or (None,)
    for number, engine in enumerate(rows):
        yield f"{pipeline}_config" + (f"_{engine.engine}" if number and engine else ""), engine


def _title(family: str, engine: EngineSupport | None) -> str:
    return f"{family} and {engine.engine}" if engine else family


def _words(blueprint: Blueprint, sizes: Sizes, family: str, engine: EngineSupport | None) -> dict[str, Any]:
    megatron = family == "megatron"
    gpus = sizes.gpus if megatron else sizes.sharded_gpus
    copies = sizes.data if megatron else gpus
    rollout = max(ROLLOUT, copies)
    prompt, response = lengths(blueprint)
    return {
        "gpus": gpus,
        "rollout": rollout,
        "returns": RETURNS,
        "prompt_length": prompt,
        "response_length": response,
        "accumulation": max(1, min(_ACCUMULATION, rollout * RETURNS // copies)),
        "rule": rule_told(sizes, family),
        "hydra_defaults": ["deepspeed_zero3"] if family == "deepspeed" else [],
        "train": _strategy(sizes, family, has_experts=sizes.parameters.expert > 0, trains=True),
        "reference": _strategy(sizes, family, has_experts=sizes.parameters.expert > 0, trains=False),
        "engine": _engine(engine, sizes, prompt + response) if engine else None,
    }


def lengths(blueprint: Blueprint) -> tuple[int, int]:
    """Tokens of prompt and response: the usual ones, or the model's context in halves."""
    context = blueprint.value("max_position_embeddings") or PROMPT + RESPONSE
    return (PROMPT, RESPONSE) if context >= PROMPT + RESPONSE else (context // 2, context // 2)


def rule_told(sizes: Sizes, family: str) -> str:
    """The sizes and where they come from, in one line."""
    counted = f"{sizes.parameters.total / 1e9:.2f} billion parameters"
    if sizes.parameters.expert:
        counted += f", {sizes.parameters.expert / 1e9:.2f} billion of them in experts"
    if family == "megatron":
        split = f"tensor {sizes.tensor}, pipeline {sizes.pipeline}, expert {sizes.expert} on {sizes.gpus} GPUs"
    else:
        split = f"sharded over {sizes.sharded_gpus} GPUs"
    return f"{counted}: {split} of 80 GB, 60 % of each for weights, gradients and Adam"


def _strategy(sizes: Sizes, family: str, *, has_experts: bool, trains: bool) -> dict[str, Any]:
    name = f"{family}_{'train' if trains else 'infer'}"
    if family == "deepspeed":
        return {"name": name, "named": "deepspeed_zero3", "config": []}
    rows = _megatron(sizes, has_experts, trains) if family == "megatron" else _sharded(sizes)
    return {"name": name, "named": None, "config": [{"key": key, "value": value} for key, value in rows]}


def _megatron(sizes: Sizes, has_experts: bool, trains: bool) -> Iterator[tuple[str, Any]]:
    yield "tensor_model_parallel_size", sizes.tensor
    yield "pipeline_model_parallel_size", sizes.pipeline
    yield "expert_model_parallel_size", sizes.expert
    if sizes.tensor > 1:
        yield "sequence_parallel", True
    if has_experts:
        yield "moe_token_dispatcher_type", "alltoall"
        yield "moe_grouped_gemm", True
    if trains:
        yield "use_distributed_optimizer", True
        if has_experts:
            yield "moe_layer_recompute", True
        else:
            yield "recompute_granularity", "full"


def _sharded(sizes: Sizes) -> Iterator[tuple[str, Any]]:
    yield "fsdp_size", sizes.sharded_gpus
    yield "param_dtype", "bf16"
    yield "reduce_dtype", "float32"
    yield "reshard_after_forward", True
    yield "offload_policy", False


def _engine(support: EngineSupport, sizes: Sizes, context: int) -> dict[str, Any]:
    width = sizes.engine_tensor
    if support.engine == "sglang":
        rows = [("mem_fraction_static", 0.7), ("load_format", "dummy")]
        wide = width
    else:
        rows = [("gpu_memory_utilization", 0.8), ("block_size", 16), ("max_model_len", context)]
        rows += [("tensor_parallel_size", width)] if width > 1 else []
        wide = 1  # ROLL takes the number from tensor_parallel_size
    return {
        "name": support.engine,
        "named": None,
        "config": [{"key": key, "value": value} for key, value in rows],
        "gpus_per_worker": wide,
    }
