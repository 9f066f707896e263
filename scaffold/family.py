"""The model family's own folder, and which gaps of a plan are still open there."""

from __future__ import annotations

import ast
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scaffold_tools.blueprint.facts import Gap
    from scaffold_tools.workspace.plan import Plan

TABLE = "OPEN_GAPS"


def family_folder(plan: Plan) -> str:
    """The folder of the family's own code, relative to the root of the plan: where its package is imported from."""
    wanted = plan.package.replace(".", "/")
    parents = (PurePosixPath(change.path).parent.as_posix() for change in plan.changes)
    return next((parent for parent in parents if f"/{parent}".endswith(f"/{wanted}")), wanted)


def open_gaps(plan: Plan) -> tuple[Gap, ...]:
    """The gaps of a plan without those that somebody closed by taking their row out.

    That they are closed well is for verification to say. Without a module of marked places, or where it cannot be
    read, every gap is open.
    """
    rows = None if plan.stub is None else _rows(Path(plan.root) / plan.stub)
    if rows is None:
        return plan.gaps
    return tuple(gap for gap in plan.gaps if (gap.subject, gap.reason) in rows)


def _rows(path: Path) -> list[Any] | None:
    """The literal value of the table, never executed."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            match node:
                case ast.Assign(targets=[ast.Name(id=name)]) if name == TABLE:
                    return list(ast.literal_eval(node.value))
    except (OSError, ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
    return None
