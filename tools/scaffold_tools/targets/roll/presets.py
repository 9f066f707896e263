"""Distribution rules that a checkout has ready: names of parameters by how tensor parallelism treats them."""

from __future__ import annotations

import ast
import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass

from scaffold_tools.targets.roll.syntax import call_name, keywords, text

FIELDS = (
    "pre_process_weights",
    "post_process_weights",
    "duplicated_weights",
    "column_parallel_weights",
    "row_parallel_weights",
    "swiglu_weights",
    "gdn_weights",
)
"""Fields of `DistParallelConfig` that list names."""

_CLASS = "DistParallelConfig"


@dataclass(frozen=True)
class DistPreset:
    """One `DistParallelConfig` at the top level of `dist_converter.py`, with all that it merges."""

    name: str
    weights: tuple[tuple[str, tuple[str, ...]], ...]
    """(field, names)."""
    grouped: tuple[tuple[str, str], ...] = ()
    """(name in one expert, name of the grouped parameter), of all three maps."""

    def names(self, field: str) -> tuple[str, ...]:
        """The names of one field."""
        return dict(self.weights).get(field, ())

    def holds(self, field: str, name: str) -> bool:
        """Whether a field has a name, or a pattern that fits it, as `DistConverter.name_match` decides."""
        return any(name == one or fnmatch.fnmatchcase(name, one) for one in self.names(field))

    def merged(self, other: DistPreset) -> DistPreset:
        """What `merge_configs` gives."""
        joined = tuple((field, (*self.names(field), *other.names(field))) for field in FIELDS)
        return DistPreset(self.name, joined, (*self.grouped, *other.grouped))


def read_presets(tree: ast.Module) -> tuple[DistPreset, ...]:
    """Every preset of a module, in its order; those that are built in another way than these are left out."""
    strings: dict[str, str] = {}
    found: dict[str, DistPreset] = {}
    for node in tree.body:
        if not isinstance(node, ast.Assign) or len(node.targets) != 1 or not isinstance(node.targets[0], ast.Name):
            continue
        name = node.targets[0].id
        if (value := text(node.value)) is not None:
            strings[name] = value
        elif (preset := _evaluate(node.value, name, found, strings)) is not None:
            found[name] = preset
    return tuple(found.values())


def _evaluate(
    node: ast.expr, name: str, known: Mapping[str, DistPreset], strings: Mapping[str, str]
) -> DistPreset | None:
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if not isinstance(node, ast.Call):
        return None
    if call_name(node) == _CLASS:
        words = keywords(node)
        weights = tuple((field, _strings(words.get(field), strings)) for field in FIELDS)
        maps = [value for key, value in words.items() if key.startswith("grouped_") and isinstance(value, ast.Dict)]
        grouped = [pair for one in maps for pair in zip(one.keys, one.values, strict=True)]
        pairs = [(text(key), text(value)) for key, value in grouped]
        return DistPreset(name, weights, tuple((key, value) for key, value in pairs if key and value))
    if isinstance(node.func, ast.Attribute) and node.func.attr == "merge_configs" and len(node.args) == 1:
        first = _evaluate(node.func.value, name, known, strings)
        second = _evaluate(node.args[0], name, known, strings)
        return None if first is None or second is None else first.merged(second)
    return None


def _strings(node: ast.expr | None, strings: Mapping[str, str]) -> tuple[str, ...]:
    if not isinstance(node, ast.List):
        return ()
    found = [strings.get(item.id) if isinstance(item, ast.Name) else text(item) for item in node.elts]
    return tuple(value for value in found if value is not None)
