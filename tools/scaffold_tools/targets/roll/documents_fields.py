"""Holds example configs to the dataclasses of a ROLL checkout: a key that is no field would be dropped in silence."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scaffold_tools.targets.roll import syntax

ROOTS = {"rlvr": "RLVRConfig", "sft": "SFTConfig"}
"""Pipeline -> the class that its start script fills."""
_MEGATRON_ARGUMENTS = "mcore_adapter/src/mcore_adapter/training_args.py"
_OF_HYDRA = frozenset({"defaults", "hydra"})


def unknown_keys(checkout: Path, pipeline: str, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Dotted keys of a config that no class has a field for; none where the checkout has no such class."""
    known = _classes(checkout)
    return tuple(_unknown(config, ROOTS[pipeline], known, "")) if ROOTS[pipeline] in known else ()


def _classes(checkout: Path) -> dict[str, ast.ClassDef]:
    """Dataclasses of configs by name, and the arguments that mcore_adapter takes as `strategy_config`."""
    files = [
        *sorted((checkout / "roll" / "configs").glob("*.py")),
        *sorted((checkout / "roll" / "pipeline").glob("*/*_config.py")),
        *([checkout / _MEGATRON_ARGUMENTS] if (checkout / _MEGATRON_ARGUMENTS).is_file() else []),
    ]
    found: dict[str, ast.ClassDef] = {}
    for path in files:
        for name, node in syntax.classes(syntax.tree_of(path)).items():
            found.setdefault(name, node)
    return found


def _fields(name: str, known: Mapping[str, ast.ClassDef]) -> dict[str, str]:
    """Fields and annotations of a class, inherited ones included."""
    node = known.get(name)
    if node is None:
        return {}
    own = {
        item.target.id: ast.unparse(item.annotation)
        for item in node.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    }
    inherited = [_fields(base, known) for base in syntax.bases(node) if base != name]
    return {key: value for part in inherited for key, value in part.items()} | own


def _unknown(values: Mapping[str, Any], name: str, known: Mapping[str, ast.ClassDef], at: str) -> Iterator[str]:
    fields = _fields(name, known)
    for key, value in values.items():
        if not at and key in _OF_HYDRA:
            continue
        if key not in fields:
            yield f"{at}{key}"
        elif key == "strategy_config" and str(values.get("strategy_name")).startswith("megatron_"):
            yield from _not_arguments(value, known, f"{at}{key}.")
        elif isinstance(value, Mapping):
            yield from _below(value, fields[key], known, f"{at}{key}.")


def _below(value: Mapping[str, Any], annotation: str, known: Mapping[str, ast.ClassDef], at: str) -> Iterator[str]:
    """A nested config, or a table of them (`Dict[str, RewardConfig]`); plain dictionaries hold anything."""
    inner = next((word for word in re.findall(r"\w+", annotation) if word in known), None)
    if inner is None:
        return
    if re.search(r"\b[Dd]ict\[", annotation):
        for key, item in value.items():
            yield from _unknown(item, inner, known, f"{at}{key}.")
    else:
        yield from _unknown(value, inner, known, at)


def _not_arguments(value: Any, known: Mapping[str, ast.ClassDef], at: str) -> Iterator[str]:
    names = _fields("MegatronArguments", known)
    if isinstance(value, Mapping) and names:
        yield from (f"{at}{key}" for key in value if key not in names)
