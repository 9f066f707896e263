"""Tensors that transformers renames or joins when it loads a checkpoint, read from its table without importing it.

A strategy that trains the module of transformers hands its parameters on under their names in that module. Where those
differ from the names on disk, an engine that expects the checkpoint's names does not know them.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_TABLE = "mapping"
"""Name of the table in the function that builds it."""
_SAME_AS = "_MODEL_TO_CONVERSION_PATTERN"


@dataclass(frozen=True)
class Conversion:
    """One rule of the table."""

    stored: tuple[str, ...]
    """Patterns of names on disk."""
    parameters: tuple[str, ...]
    """Patterns of names of parameters."""
    operations: tuple[str, ...]
    """Names of the operations; none for a plain renaming."""


def conversions_of(path: Path, names: Sequence[str]) -> tuple[Conversion, ...]:
    """The rules of the first of these names (class, model type) that `conversion_mapping.py` has rules for."""
    table = _table(path)
    return next((table[name] for name in names if name in table), ())


@lru_cache(maxsize=4)
def _table(path: Path) -> dict[str, tuple[Conversion, ...]]:
    """The table after the statements that build it: assignments, additions, copies of other entries."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return {}
    table: dict[str, tuple[Conversion, ...]] = {}
    same: dict[str, str] = {}
    for node in (*tree.body, *(part for one in tree.body if isinstance(one, ast.FunctionDef) for part in one.body)):
        if not isinstance(node, ast.Assign | ast.AugAssign):
            continue
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        if isinstance(target, ast.Name) and target.id == _SAME_AS and isinstance(node.value, ast.Dict):
            same = dict(ast.literal_eval(node.value))
        elif isinstance(target, ast.Name) and target.id == _TABLE and isinstance(node.value, ast.Dict):
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                if isinstance(key, ast.Constant):
                    table[str(key.value)] = _rules(value, table)
        elif (name := _entry(target)) is not None:
            before = table.get(name, ()) if isinstance(node, ast.AugAssign) else ()
            table[name] = (*before, *_rules(node.value, table))
    for name, pattern in same.items():
        table.setdefault(name, table.get(pattern, ()))
    return table


def _entry(node: ast.expr) -> str | None:
    """`mapping["name"]`."""
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == _TABLE:
        return str(node.slice.value) if isinstance(node.slice, ast.Constant) else None
    return None


def _rules(node: ast.expr, table: dict[str, tuple[Conversion, ...]]) -> tuple[Conversion, ...]:
    if isinstance(node, ast.List):
        return tuple(row for item in node.elts if (row := _rule(item)) is not None)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (*_rules(node.left, table), *_rules(node.right, table))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "copy":
        return _rules(node.func.value, table)
    return table.get(_entry(node) or "", ())


def _rule(node: ast.expr) -> Conversion | None:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return None
    words = {word.arg: word.value for word in node.keywords}
    stored = words.get("source_patterns", node.args[0] if node.args else None)
    parameters = words.get("target_patterns", node.args[1] if len(node.args) > 1 else None)
    operations = words.get("operations")
    called = [one for one in operations.elts if isinstance(one, ast.Call)] if isinstance(operations, ast.List) else []
    names = tuple(one.func.id for one in called if isinstance(one.func, ast.Name))
    return Conversion(_patterns(stored), _patterns(parameters), names)


def _patterns(node: ast.expr | None) -> tuple[str, ...]:
    found = node.elts if isinstance(node, ast.List | ast.Tuple) else [] if node is None else [node]
    return tuple(one.value for one in found if isinstance(one, ast.Constant) and isinstance(one.value, str))
