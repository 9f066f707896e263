"""The export lists of a model zoo: the top-level `__init__.py`, whose imports are the registration, and a family's."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from scaffold_tools.edit.exports import add_to_dunder_all, exported_names
from scaffold_tools.edit.imports import add_import_from
from scaffold_tools.edit.order import natural
from scaffold_tools.edit.source import dotted, parse


def add_to_models_init(source: bytes, module: str, names: Sequence[str], group_comment: str | None = None) -> bytes:
    """Import `names` from `module` at the sorted place, and export them.

    Without a `group_comment` the exports follow those of the import that sorts just before `module`.

    Args:
        source: `models/__init__.py`.
        module: `megatron.bridge.models.<family>`, or a module in it.
        names: the classes.
        group_comment: title of the group in `__all__` (`Qwen3 Models`).

    Raises:
        BadInput: the file is built in a way that an edit could only guess at.
    """
    edited = add_import_from(source, module, names)
    before, after = _neighbours(source, module)
    return add_to_dunder_all(edited, names, group_comment=group_comment, after=before, before=after)


def add_to_family_init(source: bytes, module: str, names: Sequence[str]) -> bytes:
    """The same for a family's own `__init__.py`, which may do without `__all__`."""
    return add_to_dunder_all(add_import_from(source, module, names), names, if_missing="skip")


def _neighbours(source: bytes, module: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Exported names of the nearest imports that sort before `module` (or are from it), and after it."""
    exported = set(exported_names(source) or ())
    rows = []
    for line in parse(source).body:
        for node in line.body if isinstance(line, cst.SimpleStatementLine) else ():
            if isinstance(node, cst.ImportFrom) and not isinstance(node.names, cst.ImportStar) and not node.relative:
                names = tuple(alias.evaluated_alias or alias.evaluated_name for alias in node.names)
                kept = tuple(name for name in names if name in exported)
                rows += [(natural(dotted(node.module) or ""), kept)] if kept else []
    before = [row for row in rows if row[0] <= natural(module)]
    after = [row for row in rows if row[0] > natural(module)]
    return (max(before)[1] if before else ()), (min(after)[1] if after else ())
