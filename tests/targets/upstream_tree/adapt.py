"""Writes upstream's tests with our names: modules, classes and functions. No assertion is touched."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from targets.upstream_tree.takeout import Symbol, TakenOut, imports_of, symbols_of


@dataclass(frozen=True)
class Names:
    """What upstream calls something -> what we do."""

    modules: dict[str, str]
    symbols: dict[str, Symbol]
    """Upstream's name -> ours, where there is a counterpart."""
    missing: frozenset[str]
    """Names of upstream's that nothing of ours stands for."""
    passed_on: tuple[tuple[str, str, str], ...] = ()
    """(name, module, its name there): what tests find in upstream's module and is from elsewhere."""


def counterparts(taken: TakenOut, root: Path, ours: Sequence[str], bridge: tuple[str, str]) -> Names:
    """Match what upstream's modules defined with what ours define.

    The bridges are each other's; else the same name but for case; else the only class with the same bases.

    Args:
        ours: modules that were written for this model.
        bridge: (module, class) that registers the architecture now.
    """
    defined = [
        symbol for module in ours for symbol in symbols_of(root / "src" / f"{module.replace('.', '/')}.py", module)
    ]
    found: dict[str, Symbol] = {}
    for symbol in taken.symbols:
        if symbol.name == taken.bridge:
            match = [one for one in defined if (one.module, one.name) == bridge]
        else:
            match = [one for one in defined if one.name.lower() == symbol.name.lower()]
            if not match and symbol.is_class:
                same = [one for one in taken.symbols if one.bases == symbol.bases]
                match = [one for one in defined if one.is_class and one.bases == symbol.bases and len(same) == 1]
        if len(match) == 1:
            found[symbol.name] = match[0]
    homes = {symbol.module: found[symbol.name].module for symbol in taken.symbols if symbol.name in found}
    modules = {module: homes.get(module, bridge[0]) for module in taken.modules} | {taken.module: bridge[0]}
    missing = frozenset(one.name for one in taken.symbols if one.name not in found)
    return Names(modules, found, missing, taken.passed_on)


def adapt(text: str, names: Names) -> str:
    """One test module of upstream's with our names.

    A name without a counterpart becomes an object that fails any test that uses it, so that the others still run.
    """
    lines: list[str | None] = list(text.splitlines(keepends=True))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module in names.modules:
            last = node.end_lineno or node.lineno
            lines[node.lineno - 1 : last] = [None] * (last - node.lineno + 1)
            lines[node.lineno - 1] = "".join(
                f"{' ' * node.col_offset}{_import(alias, node.module, names)}\n" for alias in node.names
            )
    after = "".join(line for line in lines if line is not None)
    for old, new in names.modules.items():
        after = re.sub(rf"\b{re.escape(old)}\b", new, after)
    for old, symbol in names.symbols.items():
        after = re.sub(rf"\b{re.escape(old)}\b", symbol.name, after)
    return after


def _import(alias: ast.alias, module: str, names: Names) -> str:
    known = names.symbols.get(alias.name)
    if known is not None:
        return f"from {known.module} import {known.name}" + (f" as {alias.asname}" if alias.asname else "")
    if alias.name in names.missing:
        called = alias.asname or alias.name
        return f"from upstream_names import Missing; {called} = Missing({alias.name!r})"
    for name, home, original in names.passed_on:
        if name == alias.name:
            return f"from {home} import {original} as {alias.asname or name}"
    return f"from {names.modules[module]} import {alias.name}" + (f" as {alias.asname}" if alias.asname else "")


def imported_missing(text: str, names: Names) -> frozenset[str]:
    """Names of upstream's without a counterpart that a test module imports."""
    tree = ast.parse(text)
    return frozenset(
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in names.modules
        for alias in node.names
        if alias.name in names.missing
    )


__all__ = ["Names", "adapt", "counterparts", "imported_missing", "imports_of"]
