"""Example commands and scripts of one model: conversion, generation, training, as far as the checkout has scripts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaffold_tools.targets.megatron_bridge.blocks import BlockPlan
from scaffold_tools.targets.megatron_bridge.naming import Names
from scaffold_tools.targets.megatron_bridge.recipes.design import RecipeDesign
from scaffold_tools.targets.megatron_bridge.recipes.naming import alias
from scaffold_tools.targets.megatron_bridge.recipes.parallelism import NODE, Choice
from scaffold_tools.targets.megatron_bridge.recipes.words import parallelism_text

NewFile = tuple[str, str, str, dict[str, Any]]
"""(path, template, summary, context)."""

_TEMPLATES = "checkout/examples"
_MODES = {"sft": "sft", "peft": "lora"}
_KINDS = {"sft": "full supervised fine-tuning", "peft": "fine-tuning with LoRA"}
_CONVERT = "scripts/conversion/convert.sh"
_GENERATE = "examples/conversion/hf_to_megatron_generate_text.py"
_TRAIN = "scripts/training/run_recipe.py"
_FULL_PREFIX = "--legacy-full-prefix"


@dataclass(frozen=True)
class Uncached:
    """A reason for which text is generated without a cache of keys and values."""

    name: str
    reason: str
    holds: Callable[[BlockPlan], bool]


UNCACHED: tuple[Uncached, ...] = (
    Uncached(
        "mixer",
        "layers that are not attention keep no state between steps of generation",
        lambda blocks: "mixer" in blocks.features,
    ),
    Uncached(
        "own attention",
        "the core attention of the model takes as many queries as keys",
        lambda blocks: bool(blocks.features & {"core_attention", "eager_attention", "difference"}),
    ),
    Uncached(
        "selected keys",
        "which keys a query sees is computed over the whole sequence",
        lambda blocks: "key_selection" in blocks.features,
    ),
)


def example_files(
    names: Names, words: dict[str, Any], *, recipes: RecipeDesign | None, blocks: BlockPlan, root: Path
) -> list[NewFile]:
    """README and scripts.

    Args:
        names: what the model is called.
        words: what all files of a checkout are told, those of the recipes among it.
        recipes: the recipes of the model; without them there are no scripts, for they say how many GPUs it takes.
        blocks: its custom code.
        root: the checkout.
    """
    folder = f"examples/models/{names.family}/{names.stem}"
    told = {
        **words,
        "folder_path": folder,
        "checkpoint_name": recipes.name if recipes else names.stem,
        "full_prefix": _full_prefix(blocks, root),
        "remote_code": bool(words.get("remote_code")),
        "scripts": [],
        "recipes_told": [],
        "inference_text": "",
        "inference": {"world": 1},
        "slurm_roundtrip": False,
    }
    scripts: list[NewFile] = []
    if recipes is not None:
        told |= _inference_words(recipes.inference)
        scripts = _scripts(recipes, told, folder, root)
        told |= {"scripts": [Path(row[0]).name for row in scripts]}
        told["recipes_told"] = _recipes_told(recipes, told["scripts"]) if (root / _TRAIN).is_file() else []
    return [(f"{folder}/README.md", f"{_TEMPLATES}/README.md.j2", "example commands", told), *scripts]


def _scripts(recipes: RecipeDesign, told: dict[str, Any], folder: str, root: Path) -> list[NewFile]:
    rows: list[NewFile] = []
    if (root / _CONVERT).is_file():
        rows.append((f"{folder}/conversion.sh", f"{_TEMPLATES}/conversion.sh.j2", "converts both ways", told))
    if (root / _GENERATE).is_file():
        rows.append((f"{folder}/inference.sh", f"{_TEMPLATES}/inference.sh.j2", "generates text", told))
    if (root / _TRAIN).is_file():
        for choice in recipes.choices:
            if choice.task in _MODES:
                words = {**told, **_training_words(recipes, choice)}
                path = f"{folder}/slurm_{choice.task}.sh"
                rows.append((path, f"{_TEMPLATES}/slurm_train.sh.j2", _KINDS[choice.task], words))
    return rows


def _full_prefix(blocks: BlockPlan, root: Path) -> bool:
    """Without a cache, where the model needs that and the checkout's script has it."""
    script = root / _GENERATE
    wanted = any(row.holds(blocks) for row in UNCACHED)
    return wanted and script.is_file() and _FULL_PREFIX.encode() in script.read_bytes()


def _inference_words(choice: Choice) -> dict[str, Any]:
    split = choice.split
    gpus = "one GPU" if split.world == 1 else f"{split.world} GPUs"
    return {
        "inference": {"tp": split.tp, "pp": split.pp, "ep": split.ep, "world": split.world, **_nodes(split.world)},
        "inference_text": f"{gpus} ({parallelism_text(split)})" if split.world > 1 else gpus,
        "slurm_roundtrip": split.world > NODE,
    }


def _nodes(world: int) -> dict[str, int]:
    return {"nodes": -(-world // NODE), "per_node": min(world, NODE)}


def _training_words(recipes: RecipeDesign, choice: Choice) -> dict[str, Any]:
    split = choice.split
    return {
        "task": choice.task,
        "mode": _MODES[choice.task],
        "kind": _KINDS[choice.task],
        "recipe_alias": alias(recipes.name, choice.task),
        "split_text": f"{parallelism_text(split)} on {split.world} H100",
        "seq_length": choice.seq_length,
        "has_experts": bool(recipes.size.experts),
        **{"tp": split.tp, "pp": split.pp, "ep": split.ep},
        **_nodes(split.world),
    }


def _recipes_told(recipes: RecipeDesign, scripts: list[str]) -> list[dict[str, Any]]:
    rows = []
    for choice in recipes.choices:
        script = f"slurm_{choice.task}.sh"
        rows.append(
            {
                "alias": alias(recipes.name, choice.task),
                "world": choice.split.world,
                "parallelism": parallelism_text(choice.split),
                "memory": f"{choice.memory.total / 1e9:.0f} GB",
                "script": script if script in scripts else None,
                **_nodes(choice.split.world),
            }
        )
    return rows
