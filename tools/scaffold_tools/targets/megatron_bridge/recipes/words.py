"""What the templates of recipes are told."""

from __future__ import annotations

from typing import Any

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.render.literals import python_literal
from scaffold_tools.targets.megatron_bridge.recipes import naming
from scaffold_tools.targets.megatron_bridge.recipes.design import RecipeDesign
from scaffold_tools.targets.megatron_bridge.recipes.memory import Memory, Split
from scaffold_tools.targets.megatron_bridge.recipes.parallelism import Choice, global_batch_size

_KINDS = {"pretrain": "a pre-training", "sft": "a full SFT", "peft": "a PEFT"}
_USUAL_BATCH = {"pretrain": 32, "sft": 128, "peft": 128}
"""The global batch sizes of upstream's base configs."""

Row = dict[str, str]


def _by_alias(row: Row) -> str:
    return row["alias"]


def _row(left: str, right: str, comment: str = "") -> Row:
    return {"left": left, "right": right, "comment": comment}


def recipe_words(design: RecipeDesign, blueprint: Blueprint, fields: frozenset[str]) -> dict[str, Any]:
    """Context of the factories, their aliases, export lists and tests.

    Args:
        design: the decisions.
        blueprint: the model.
        fields: what the checkout's provider declares; an assignment to anything else would be lost.
    """
    builder = f"get_{design.name}_pipeline_layout"
    has_moe = bool(design.size.experts)
    recipes = [_recipe(design, choice, builder, fields, has_moe=has_moe) for choice in design.choices]
    return {
        "recipe_name": design.name,
        "recipe_family": design.family,
        "recipe_module": design.module,
        "recipe_package": design.package,
        "size_title": design.token.replace("_", "-").replace("p", ".").upper(),
        "hardware": design.hardware,
        "environment": design.layout.environment,
        "pipelined": any(choice.split.pp > 1 for choice in design.choices),
        "layout": design.uneven,
        "layout_builder": builder,
        "num_layers": design.size.num_layers,
        "tasks": list(design.layout.stages),
        "unpacked": design.unpacked is not None and design.layout.packing_argument is not None,
        "packing_argument": design.layout.packing_argument,
        "remote_code": not blueprint.in_transformers,
        "shared": _shared(design, fields, has_moe=has_moe),
        "recipes": recipes,
        "targets": list(design.targets),
        "calls": ("default_squad_config", builder),
        "names": sorted([recipe["name"] for recipe in recipes]),
        "aliases": sorted(({"name": row["name"], "alias": row["alias"]} for row in recipes), key=_by_alias),
        "imports": _imports(design),
    }


def parallelism_text(split: Split) -> str:
    """`TP=4, PP=2, EP=4, SP on, full recomputation`."""
    parts = [f"TP={split.tp}", f"PP={split.pp}"]
    parts += [f"EP={split.ep}"] if split.ep > 1 else []
    parts += ["sequence parallel"] if split.tp > 1 else []
    parts += ["full recomputation"] if split.recompute else []
    return ", ".join(parts)


def memory_text(memory: Memory) -> str:
    """`48 GB (weights 8, gradients 16, optimizer 20, activations 4)`."""
    rows = (
        ("weights", memory.weights),
        ("gradients", memory.gradients),
        ("optimizer", memory.optimizer),
        ("activations", memory.activations),
    )
    parts = ", ".join(f"{name} {value / 1e9:.1f}" for name, value in rows)
    return f"{memory.total / 1e9:.1f} GB on the fullest GPU ({parts})"


def _shared(design: RecipeDesign, fields: frozenset[str], *, has_moe: bool) -> list[Row]:
    model = [
        ("virtual_pipeline_model_parallel_size", "None", ""),
        ("context_parallel_size", "1", ""),
        ("cross_entropy_loss_fusion", "True", ""),
        ("cross_entropy_fusion_impl", '"te"', ""),
    ]
    if has_moe:
        model += [("expert_tensor_parallel_size", "1", ""), ("moe_token_dispatcher_type", '"alltoall"', "")]
    rows = [_row(f"cfg.model.{name}", code, comment) for name, code, comment in model if name in fields]
    return [
        *rows,
        _row("cfg.train.micro_batch_size", "1"),
        _row("cfg.train.manual_gc", "True"),
        _row("cfg.train.manual_gc_interval", "100"),
        *(_row(f"cfg.ddp.{name}", "True") for name in ("overlap_grad_reduce", "overlap_param_gather")),
        *(_row(f"cfg.ddp.{name}", "True") for name in ("check_for_nan_in_grad", "use_distributed_optimizer")),
    ]


def _recipe(
    design: RecipeDesign, choice: Choice, builder: str, fields: frozenset[str], *, has_moe: bool
) -> dict[str, Any]:
    split = choice.split
    rows = _model_rows(design, choice, builder, fields, has_moe=has_moe)
    rows.append(_row("cfg.train.global_batch_size", str(global_batch_size(split, _USUAL_BATCH[choice.task]))))
    rows += _dataset_rows(design, choice)
    return {
        "name": design.factory(choice),
        "alias": naming.alias(design.name, choice.task),
        "task": choice.task,
        "kind": _KINDS[choice.task],
        "base": f"_{choice.task}_common",
        "parallelism": parallelism_text(split),
        "memory": memory_text(choice.memory),
        "rows": rows,
        "split": {"tp": split.tp, "pp": split.pp, "ep": split.ep, "world": split.world, "sp": split.tp > 1},
        "even": choice.even,
    }


def _model_rows(
    design: RecipeDesign, choice: Choice, builder: str, fields: frozenset[str], *, has_moe: bool
) -> list[Row]:
    split = choice.split
    full = split.recompute
    model = [
        ("tensor_model_parallel_size", str(split.tp)),
        ("pipeline_model_parallel_size", str(split.pp)),
        ("pipeline_dtype", "torch.bfloat16" if split.pp > 1 else "None"),
    ]
    model += [("expert_model_parallel_size", str(split.ep))] if has_moe else []
    model += [("sequence_parallel", str(split.tp > 1)), ("seq_length", str(choice.seq_length))]
    rows = [_row(f"cfg.model.{name}", code) for name, code in model if name in fields]
    rows += _layout_rows(design, choice, builder)
    recompute = [
        ("recompute_granularity", python_literal("full" if full else None)),
        ("recompute_method", python_literal("uniform" if full else None)),
        ("recompute_num_layers", python_literal(1 if full else None)),
    ]
    return rows + [_row(f"cfg.model.{name}", code) for name, code in recompute if name in fields]


def _layout_rows(design: RecipeDesign, choice: Choice, builder: str) -> list[Row]:
    if not design.uneven:
        return [_row("cfg.model.pipeline_model_parallel_layout", "None")]
    rows = [_row("cfg.model.pipeline_model_parallel_layout", f"{builder}({choice.split.pp}, None)")]
    if design.layout.builder:
        rows.insert(0, _row("cfg.model._pipeline_model_parallel_layout_builder", builder))
    return rows


def _dataset_rows(design: RecipeDesign, choice: Choice) -> list[Row]:
    if choice.task == "pretrain":
        return [_row("cfg.dataset.seq_length", str(choice.seq_length)), _row("cfg.dataset.num_workers", "8")]
    if design.unpacked is None or design.layout.packing_argument is None:
        return []
    arguments = f"seq_length={choice.seq_length}, {design.layout.packing_argument}=False"
    return [_row("cfg.dataset", f"default_squad_config({arguments})", f"Not packed: {design.unpacked}")]


def _imports(design: RecipeDesign) -> list[Row]:
    rows = [("megatron.bridge", "AutoBridge"), ("megatron.bridge.training.config", "ConfigContainer")]
    rows += [("megatron.bridge.recipes.common", f"_{stage}_common") for stage in design.layout.stages]
    if "peft" in design.layout.stages:
        rows += [("megatron.bridge.peft.base", "PEFT"), (str(design.layout.peft_module), "default_peft_config")]
    if design.unpacked and design.layout.packing_argument and set(design.layout.stages) & {"sft", "peft"}:
        rows.append((str(design.layout.squad_module), "default_squad_config"))
    if design.layout.environment:
        rows.append(("megatron.bridge.recipes.utils.environment_utils", "COMMON_RECIPE_ENV_VARS"))
    return [{"module": module, "name": name} for module, name in sorted(rows)]
