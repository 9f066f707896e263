"""Plans put into trees: status, diff, apply, undo, recovery, and three-way merge. All or nothing, and a way back."""

from scaffold_tools.workspace.applying import Applied, Undone, apply, undo
from scaffold_tools.workspace.compare import ChangeStatus, FileDiff, diff, diff_entries, status
from scaffold_tools.workspace.merge import Merged, merge3
from scaffold_tools.workspace.plan import Change, Plan, Status
from scaffold_tools.workspace.record import Entry, Record, read_record
from scaffold_tools.workspace.transaction import recover, sha256

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
    "apply",
    "diff",
    "diff_entries",
    "merge3",
    "read_record",
    "recover",
    "sha256",
    "status",
    "undo",
]
