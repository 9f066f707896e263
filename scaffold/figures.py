"""Figures in generated files: some of them tell what was measured, and are told again when that changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from scaffold.targets import Target, find_target

if TYPE_CHECKING:
    from scaffold.run_folder import RunFolder
    from scaffold_tools.verify.evidence import Evidence
    from scaffold_tools.workspace.plan import Change, Plan
    from scaffold_tools.workspace.record import Record


def told(plan: Plan, target: Target, evidence: Evidence | None, commit: str | None) -> Plan:
    """The plan with these figures in the files that hold some."""
    texts = {change.path: target.tell(change.path, change.content, evidence, commit) for change in plan.changes}
    return dataclasses.replace(
        plan,
        changes=tuple(
            change if (text := texts[change.path]) is None else dataclasses.replace(change, content=text)
            for change in plan.changes
        ),
    )


def as_told_last(plan: Plan, target: Target, record: Record, record_dir: Path) -> Plan:
    """The plan with the figures that its files were told last, where nothing else in them is new."""
    from scaffold_tools.workspace.record import read_blob

    commit, texts = record.inputs.get("target_commit"), {}
    for change in plan.changes:
        entry = record.entry(change.path)
        bare = target.tell(change.path, change.content, None, commit)
        if bare is not None and entry is not None:
            last = read_blob(record_dir, entry.base_sha256).decode("utf-8", "replace")
            texts[change.path] = last if target.tell(change.path, last, None, commit) == bare else bare
    changes = (dataclasses.replace(one, content=texts.get(one.path, one.content)) for one in plan.changes)
    return dataclasses.replace(plan, changes=tuple(changes))


def keep_figures(folder: RunFolder, evidence: Evidence) -> tuple[str, ...]:
    """Tell generated files what was measured, merged into what people wrote there; returns the files that changed."""
    from scaffold_tools.workspace import Plan, read_record, update

    record = read_record(folder.path)
    if record is None:
        return ()
    target, commit = find_target(record.target), record.inputs.get("target_commit")
    changes = tuple(_changes(record, folder.path, target, evidence, commit))
    if not changes:
        return ()
    layer = Plan(record.target, "checkout", record.root, record.package, changes)
    done = update(layer, Path(record.root), record_dir=folder.path, whole=False)
    if folder.has("plan"):
        folder.save("plan", told(folder.load("plan", Plan), target, evidence, commit))
    return done.changed


def _changes(
    record: Record, record_dir: Path, target: Target, evidence: Evidence, commit: str | None
) -> Iterator[Change]:
    from scaffold_tools.workspace.plan import Change
    from scaffold_tools.workspace.record import read_blob

    for entry in record.entries:
        if entry.before_sha256 is None and not entry.edited:
            generated = read_blob(record_dir, entry.base_sha256).decode("utf-8", "replace")
            text = target.tell(entry.path, generated, evidence, commit)
            if text is not None:
                yield Change(entry.path, "create", text, "figures of the last verification")
