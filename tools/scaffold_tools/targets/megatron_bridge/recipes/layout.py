"""How the training recipes of a checkout are laid out, read from its source."""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

HARDWARE = "h100"
"""The folder of canonical factories, where factories are named after the hardware that they are for."""

_STAGES = ("pretrain", "sft", "peft")


@dataclass(frozen=True)
class RecipeLayout:
    """Where recipes live in a checkout, and which of upstream's helpers a generated one can use."""

    kind: Literal["hardware", "flat"]
    """hardware: factories in `<family>/h100/`, aliases beside the folder. flat: factories in `<family>/` alone."""
    stages: tuple[str, ...]
    """Those of pretrain, sft and peft that `recipes/common.py` has a base config for."""
    families: frozenset[str]
    """Folders under `recipes/`."""
    peft_module: str | None = None
    """The module that defines `default_peft_config`."""
    squad_module: str | None = None
    """The module that defines `default_squad_config`."""
    packing_argument: str | None = None
    """The argument of `default_squad_config` that packs sequences."""
    environment: bool = False
    """Factories declare their process environment (`COMMON_RECIPE_ENV_VARS`)."""
    builder: bool = False
    """The launcher rebuilds pipeline layouts with `_pipeline_model_parallel_layout_builder`."""
    factories: frozenset[tuple[str, str]] = frozenset()
    """(module, public name ending in `_config`) of every recipe and alias that the checkout has."""


def read_recipe_layout(bridge: Path) -> RecipeLayout | None:
    """The layout under `megatron/bridge`; None where no generated recipe would fit.

    That is where `recipes/common.py` has no base configs: recipes of that time were built in other ways.
    """
    recipes = bridge / "recipes"
    defined = _functions(recipes / "common.py")
    peft = _home(recipes, "default_peft_config")
    stages = tuple(stage for stage in _STAGES if f"_{stage}_common" in defined and (stage != "peft" or peft))
    if not stages:
        return None
    families = frozenset(path.parent.name for path in recipes.glob("*/__init__.py"))
    squad = _home(recipes, "default_squad_config")
    arguments = squad[1] if squad else ()
    return RecipeLayout(
        kind="hardware" if any(recipes.glob(f"*/{HARDWARE}/__init__.py")) else "flat",
        stages=stages,
        families=families - {"utils"},
        peft_module=peft[0] if peft else None,
        squad_module=squad[0] if squad else None,
        packing_argument=next((name for name in arguments if "pack" in name), None),
        environment="COMMON_RECIPE_ENV_VARS" in _assigned(recipes / "utils" / "environment_utils.py"),
        builder=_uses_builder(bridge),
        factories=frozenset(_factories(recipes)),
    )


def _uses_builder(bridge: Path) -> bool:
    """Some recipe gives its layout builder to the launcher."""
    name = b"_pipeline_model_parallel_layout_builder"
    return any(name in path.read_bytes() for path in (bridge / "recipes").rglob("*.py"))


def _factories(recipes: Path) -> list[tuple[str, str]]:
    found = []
    for path in sorted(recipes.rglob("*.py")):
        module = ".".join(("megatron", "bridge", "recipes", *path.relative_to(recipes).with_suffix("").parts))
        for node in _body(path):
            if isinstance(node, ast.FunctionDef):
                found.append((module, node.name))
            elif isinstance(node, ast.ImportFrom):
                found += [(module, alias.asname or alias.name) for alias in node.names]
    return [row for row in found if row[1].endswith("_config") and not row[1].startswith("_")]


def _home(recipes: Path, function: str) -> tuple[str, tuple[str, ...]] | None:
    """(module, argument names) of a function of `recipes/utils`."""
    for path in sorted((recipes / "utils").glob("*.py")):
        for node in _body(path):
            if isinstance(node, ast.FunctionDef) and node.name == function:
                names = tuple(item.arg for item in (*node.args.args, *node.args.kwonlyargs))
                return f"megatron.bridge.recipes.utils.{path.stem}", names
    return None


def _functions(path: Path) -> set[str]:
    return {node.name for node in _body(path) if isinstance(node, ast.FunctionDef)}


def _assigned(path: Path) -> set[str]:
    targets: list[ast.expr] = []
    for node in _body(path):
        targets += node.targets if isinstance(node, ast.Assign) else []
        targets += [node.target] if isinstance(node, ast.AnnAssign) else []
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _body(path: Path) -> list[ast.stmt]:
    if not path.is_file():
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(path.read_bytes()).body
        except (SyntaxError, ValueError):
            return []
