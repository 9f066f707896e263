"""Plans put into trees: status, diff, apply, update, undo and recovery. All or nothing, and a way back."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scaffold_tools.workspace.applying import Applied, Undone, apply, undo
    from scaffold_tools.workspace.compare import ChangeStatus, FileDiff, diff, diff_entries, status
    from scaffold_tools.workspace.merge import Merged, merge3
    from scaffold_tools.workspace.plan import Change, Plan, Status
    from scaffold_tools.workspace.record import Entry, Record, read_record
    from scaffold_tools.workspace.shadowing import shadow
    from scaffold_tools.workspace.transaction import recover, sha256
    from scaffold_tools.workspace.updating import Updated, compare_update, update

# Loaded on first use: whoever needs the types of `plan` alone does not pay for subprocess, difflib and the rest.
_HOMES = {
    "Applied": "applying",
    "Undone": "applying",
    "apply": "applying",
    "undo": "applying",
    "ChangeStatus": "compare",
    "FileDiff": "compare",
    "diff": "compare",
    "diff_entries": "compare",
    "status": "compare",
    "Merged": "merge",
    "merge3": "merge",
    "Change": "plan",
    "Plan": "plan",
    "Status": "plan",
    "Entry": "record",
    "Record": "record",
    "read_record": "record",
    "recover": "transaction",
    "sha256": "transaction",
    "shadow": "shadowing",
    "Updated": "updating",
    "compare_update": "updating",
    "update": "updating",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


__all__ = [
    "Applied",
    "Change",
    "ChangeStatus",
    "Entry",
    "FileDiff",
    "Merged",
    "Plan",
    "Record",
    "Status",
    "Undone",
    "Updated",
    "apply",
    "compare_update",
    "diff",
    "diff_entries",
    "merge3",
    "read_record",
    "recover",
    "sha256",
    "shadow",
    "status",
    "undo",
    "update",
]
