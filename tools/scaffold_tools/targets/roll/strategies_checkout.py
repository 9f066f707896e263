"""What a ROLL checkout can train with, read from its source: strategies, how they load a model, lists of types."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scaffold_tools.targets.roll import syntax

FACTORY = "roll/distributed/strategy/factory.py"
PROVIDERS = "roll/models/model_providers.py"
FSDP2_UPDATE = "roll/third_party/fsdp2/model_update.py"
LOADER = "load_model"
GATHERER = "gather_fsdp2_weights"
POSITIONS = "get_extra_data_provider"


@dataclass(frozen=True)
class Undo:
    """One branch of the generator that takes joined experts apart again."""

    parameter: str
    """What a parameter's name holds: `experts.gate_up_proj`."""
    names: tuple[str, ...]
    """What takes its place for one expert, with `*` for its number: `experts.*.gate_proj.weight`."""


@dataclass(frozen=True)
class PositionBranch:
    """Model types whose positions are numbered by the code of one class of transformers."""

    model_types: tuple[str, ...]
    module: str
    """`transformers.models.qwen3_vl.modeling_qwen3_vl`."""


@dataclass(frozen=True)
class Training:
    """What of a checkout decides how a class of transformers is trained."""

    strategies: tuple[str, ...]
    """Names that the factory knows: `megatron_train`, `fsdp2_infer`."""
    auto_classes: tuple[str, ...]
    """Auto classes that `load_model` chooses from, in order."""
    undone_types: tuple[str, ...] | None
    """Model types whose joined experts are taken apart for engines; None where nothing does that."""
    undo: tuple[Undo, ...]
    position_branches: tuple[PositionBranch, ...]


def read_training(root: Path) -> Training:
    """Read a checkout; what it does not have is empty.

    Raises:
        BadInput: a file that is there does not parse.
    """
    providers = _tree(root / PROVIDERS)
    update = _tree(root / FSDP2_UPDATE)
    types = next((one for one in _looked_up(update, GATHERER)), None)
    return Training(
        strategies=tuple(dict.fromkeys(_strategies(_tree(root / FACTORY)))),
        auto_classes=tuple(dict.fromkeys(_auto_classes(providers))),
        undone_types=types,
        undo=tuple(_undo(root, update)) if types is not None else (),
        position_branches=tuple(_position_branches(providers)),
    )


def _tree(path: Path) -> ast.Module:
    return syntax.tree_of(path) if path.is_file() else ast.Module([], [])


def _strategies(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and ast.unparse(node.left) == "strategy_name":
            yield from (value for one in node.comparators for value in syntax.texts(one))


def _auto_classes(tree: ast.Module) -> Iterator[str]:
    """Classes of the mappings that are looked up come before the one that is taken otherwise."""
    function = syntax.functions(tree).get(LOADER)
    for node in ast.walk(function) if function is not None else ():
        if isinstance(node, ast.ImportFrom):
            yield from (one.name for one in node.names if re.fullmatch(r"AutoModelFor\w+", one.name))
    for node in ast.walk(function) if function is not None else ():
        if isinstance(node, ast.Name) and re.fullmatch(r"AutoModelFor\w+", node.id):
            yield node.id


def _looked_up(tree: ast.AST, function: str) -> Iterator[tuple[str, ...]]:
    """Lists of strings that a model type is looked up in, inside a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == function:
            for one in ast.walk(node):
                if isinstance(one, ast.Compare) and isinstance(one.ops[0], ast.In):
                    words = syntax.texts(one.comparators[0])
                    if words and "model_type" in ast.unparse(one.left):
                        yield words


def _undo(root: Path, update: ast.Module) -> Iterator[Undo]:
    """Branches of the imported generator: `if "X" in name: ... name.replace(old, f"{index}.new")`."""
    for node in ast.walk(update):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("roll.") and not node.level:
            path = root.joinpath(*str(node.module).split(".")).with_suffix(".py")
            known = syntax.functions(_tree(path))
            for alias in node.names:
                if alias.name in known and alias.name.startswith("_iter"):
                    yield from _branches(known[alias.name])


def _branches(function: ast.FunctionDef) -> Iterator[Undo]:
    for node in ast.walk(function):
        test = node.test if isinstance(node, ast.If) else None
        if not isinstance(node, ast.If) or not isinstance(test, ast.Compare) or not isinstance(test.ops[0], ast.In):
            continue
        parameter = syntax.text(test.left)
        names = [
            parameter.replace(old, new)
            for part in node.body
            for call in ast.walk(part)
            if parameter and isinstance(call, ast.Call) and syntax.call_name(call) == "replace" and len(call.args) == 2
            if (old := syntax.text(call.args[0])) is not None and (new := _formatted(call.args[1])) is not None
        ]
        if parameter and names:
            yield Undo(parameter, tuple(names))


def _formatted(node: ast.expr) -> str | None:
    """`f"{index}.gate_proj.weight"` with `*` for what is filled in."""
    if not isinstance(node, ast.JoinedStr):
        return syntax.text(node)
    return "".join(str(one.value) if isinstance(one, ast.Constant) else "*" for one in node.values)


def _position_branches(tree: ast.Module) -> Iterator[PositionBranch]:
    """`elif model_type in (...)` whose body takes `get_rope_index` from a class that it imports."""
    function = syntax.functions(tree).get(POSITIONS)
    for node in ast.walk(function) if function is not None else ():
        if not isinstance(node, ast.If) or not isinstance(node.test, ast.Compare):
            continue
        words = syntax.texts(node.test.comparators[0])
        body = ast.Module(node.body, [])
        imports = [one for one in ast.walk(body) if isinstance(one, ast.ImportFrom)]
        takes = any(isinstance(one, ast.Attribute) and one.attr == "get_rope_index" for one in ast.walk(body))
        if words and takes and imports and imports[0].module and isinstance(node.test.ops[0], ast.In):
            yield PositionBranch(words, imports[0].module)
