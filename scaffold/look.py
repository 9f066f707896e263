"""What can be said of a run that is there: its values, its files against the tree, its checklist; and the way back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scaffold import proving, run_folder
from scaffold.outcome import FileState, RunStatus, ValueState
from scaffold.run_folder import RunFolder
from scaffold_tools.errors import BadInput

if TYPE_CHECKING:
    from scaffold_tools.source.inventory import Inventory
    from scaffold_tools.workspace.plan import Plan


def diff(folder: RunFolder) -> tuple[str, tuple[FileState, ...]]:
    """The plan of a run against the tree as it is now: one unified diff, and each file's status."""
    from scaffold_tools.workspace import diff as tree_diff

    plan = load_plan(folder)
    return tree_diff(plan, Path(plan.root), record_dir=folder.path), file_states(plan, folder)


def file_states(plan: Plan, folder: RunFolder | None) -> tuple[FileState, ...]:
    """Each planned file against the tree."""
    from scaffold_tools.workspace import status as tree_status

    found = tree_status(plan, Path(plan.root), record_dir=folder.path if folder else None)
    return tuple(FileState(item.path, item.status, item.summary, item.reason) for item in found)


def undo(folder: RunFolder) -> tuple[tuple[str, str], ...]:
    """Take back what was applied; returns (what happened, path) for each file."""
    from scaffold_tools.workspace import read_record

    layers = (folder.path / run_folder.AGENT, folder.path)  # what the agent changed lies on top
    if all(read_record(layer) is None for layer in layers):
        raise BadInput(f"nothing of {folder.name} is applied")
    return tuple(step for layer in layers for step in _undo_layer(layer))


def _undo_layer(layer: Path) -> tuple[tuple[str, str], ...]:
    from scaffold_tools.workspace import read_record
    from scaffold_tools.workspace import undo as undo_tree

    record = read_record(layer)
    if record is None:
        return ()
    done = undo_tree(Path(record.root), layer)
    kinds = (("removed", done.removed), ("restored", done.restored), ("merged", done.merged), ("kept", done.kept))
    return tuple((kind, path) for kind, paths in kinds for path in paths)


def status(folder: RunFolder) -> RunStatus:
    """How far a run is."""
    states = file_states(load_plan(folder), folder) if folder.has("plan") else ()
    evidence = proving.stored_evidence(folder)
    return RunStatus(
        model=folder.name,
        run_folder=str(folder.path),
        values=tuple(ValueState(name, file, folder.has(name)) for name, file in run_folder.FILES.items()),
        files=states,
        proven=None if evidence is None else evidence.proven,
    )


def write_checklist(folder: RunFolder) -> str:
    """Make the checklist anew from the values of the run folder."""
    from scaffold import checklist, family, pull_request
    from scaffold.machine import site_packages
    from scaffold_tools.blueprint.facts import Blueprint
    from scaffold_tools.verify.checks import check_kind
    from scaffold_tools.workspace.record import tool_version

    plan = load_plan(folder) if folder.has("plan") else None
    made = checklist.build(
        load_inventory(folder),
        folder.load("blueprint", Blueprint) if folder.has("blueprint") else None,
        plan,
        proving.stored_evidence(folder),
        tool=f"scaffold {tool_version()}",
        describe=lambda name: kind.proves if (kind := check_kind(name)) else name,
        run=folder.name,
        open_gaps=None if plan is None else family.open_gaps(plan),
        site_packages=site_packages(),
    )
    text = pull_request.in_their_words(made, plan) or checklist.render(made)
    folder.save("checklist", text)
    return text


def load_plan(folder: RunFolder) -> Plan:
    """The plan of a run."""
    from scaffold_tools.workspace.plan import Plan

    return folder.load("plan", Plan)


def load_inventory(folder: RunFolder) -> Inventory:
    """The inventory of a run."""
    from scaffold_tools.source.inventory import Inventory

    return folder.load("inventory", Inventory)
