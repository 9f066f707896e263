"""`scaffold update`: generate again as things are today, and merge that into what people made of the files since."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scaffold import look, proving, run_folder, steps
from scaffold.family import open_gaps
from scaffold.figures import told
from scaffold.outcome import FileState, Outcome, exit_code
from scaffold.provenance import provenance, year_of
from scaffold.run_folder import RunFolder
from scaffold.targets import find_target
from scaffold_tools.errors import BadInput

if TYPE_CHECKING:
    from scaffold.lane import EarlyLane
    from scaffold.progress import Progress
    from scaffold.steps import Job
    from scaffold_tools.blueprint.facts import Blueprint
    from scaffold_tools.source.inventory import Inventory
    from scaffold_tools.workspace import Record, Updated
    from scaffold_tools.workspace.plan import Plan


@dataclass(frozen=True)
class Wanted:
    """What was asked for."""

    reread: bool = False
    """Read and probe the model anew, instead of going on from the blueprint of the run."""
    check: bool = False
    """Write nothing; exit code 1 where the tree is not as it would be generated today."""
    allow_edits: bool = False
    """With `check`: what people changed in generated files is no drift."""
    dry_run: bool = False
    allow_dirty: bool = False
    trust_remote_code: bool = False

    @property
    def writes(self) -> bool:
        """Whether anything is written."""
        return not (self.check or self.dry_run)


def update_run(folder: RunFolder, progress: Progress, wanted: Wanted, *, lane: EarlyLane | None = None) -> Outcome:
    """Bring the files of a run up to date. With `lane`, in one that stays open.

    Raises:
        BadInput: nothing of this run is applied.
        Refused: a file in the way, or uncommitted changes in files of the checkout.
    """
    from scaffold_tools.workspace import compare_update, read_record, update

    record = read_record(folder.path)
    if record is None:
        raise BadInput(f"nothing of {folder.name} is applied", hint=f"scaffold apply {folder.name}")
    with steps.open_job(progress, wanted.trust_remote_code, lane=lane) as job:
        inventory, blueprint = _facts(job, folder, wanted)
        root = Path(record.root)
        plan = _with_figures(_plan(job, folder, record, inventory, blueprint), folder, record)
        with progress.stage("merge") as stage:
            if wanted.writes:
                inputs = provenance(inventory.source, plan, folder, record)
                done = update(plan, root, record_dir=folder.path, allow_dirty=wanted.allow_dirty, inputs=inputs)
                _keep(folder, plan, done)
            else:
                done = compare_update(plan, root, record_dir=folder.path)
            stage.result = _tally(done)
    made = _outcome(folder, plan, done, wanted)
    return dataclasses.replace(
        made, model=inventory.source.name, architecture=blueprint.architecture, seconds=dict(progress.seconds)
    )


def _facts(job: Job, folder: RunFolder, wanted: Wanted) -> tuple[Inventory, Blueprint]:
    """What the model is: as the run has it, or read anew."""
    from scaffold_tools.blueprint.facts import Blueprint

    inventory = look.load_inventory(folder)
    if not wanted.reread:
        if not folder.has("blueprint"):
            raise BadInput(f"{folder.path} has no blueprint", hint=f"scaffold update {folder.name} --reread")
        return inventory, folder.load("blueprint", Blueprint)
    job.lane.start(folder.path / run_folder.LANE_LOG if wanted.writes else None)
    inventory = steps.complete(job, steps.read(job, inventory.source.link))
    classification = steps.describe(job, inventory)
    if wanted.writes:
        folder.forget_after("source")
        folder.save("source", inventory.source)
        folder.save("inventory", inventory)
        folder.save("classification", classification)
    return inventory, steps.derive(job, inventory, classification, folder if wanted.writes else None)


def _plan(job: Job, folder: RunFolder, record: Record, inventory: Inventory, blueprint: Blueprint) -> Plan:
    """What would be generated today into the tree as it would be without what was generated before."""
    from scaffold_tools.workspace import shadow

    target, root = find_target(record.target), Path(record.root)
    layout = record.inputs.get("layout") or (look.load_plan(folder).layout if folder.has("plan") else None)
    if layout is None:
        raise BadInput(f"{folder.path} does not say what it was applied to", hint="scaffold new-model LINK")
    with job.progress.stage("plan") as stage:
        checkout = layout == "checkout"
        with shadow(root, record, folder.path) if checkout else nullcontext(root) as place:
            plan = target.make_plan(
                blueprint,
                inventory.source,
                root=place,
                profile=steps.profile_of(target, place if checkout else None),
                with_stubs=record.inputs.get("with_stubs") == "yes",
                year=year_of(record),
            )
        stage.result = f"{len(plan.changes)} files"
    return dataclasses.replace(plan, root=record.root)


def _with_figures(plan: Plan, folder: RunFolder, record: Record) -> Plan:
    """The plan with the figures of the run, unless files that they were measured on would change now."""
    from scaffold_tools.workspace import compare_update

    target, commit = find_target(record.target), record.inputs.get("target_commit")
    bare, measured = told(plan, target, None, commit), proving.stored_evidence(folder)
    if measured is None:
        return bare
    full = told(plan, target, measured, commit)
    holds = {one.path for one, other in zip(full.changes, bare.changes, strict=True) if one != other}
    seen = compare_update(full, Path(record.root), record_dir=folder.path)
    moved = [one for one in seen.statuses if one.status not in ("identical", "skip") and one.path not in holds]
    return bare if moved else full


def _keep(folder: RunFolder, plan: Plan, done: Updated) -> None:
    """The plan of today; figures of yesterday's files go with them, unless only files changed that tell figures."""
    target = find_target(plan.target)
    if any(target.tell(path, "", None, None) is None for path in done.changed):
        folder.forget_after("plan")
    folder.save("plan", plan)


def _tally(done: Updated) -> str:
    counts: dict[str, int] = {}
    for one in done.statuses:
        counts[one.status] = counts.get(one.status, 0) + 1
    return ", ".join(f"{number} {status}" for status, number in counts.items())


def _outcome(folder: RunFolder, plan: Plan, done: Updated, wanted: Wanted) -> Outcome:
    gaps = open_gaps(plan)
    return Outcome(
        model=folder.name,
        architecture="",
        run_folder=str(folder.path),
        target=plan.target,
        root=plan.root,
        package=plan.package,
        generated=True,
        written=bool(done.changed),
        files=tuple(FileState(one.path, one.status, one.summary, one.reason) for one in done.statuses),
        diff="".join(one.diff for one in done.diffs) if wanted.dry_run else None,
        gaps=gaps,
        next_commands=tuple(_next(folder, done, wanted)),
        exit_code=_exit_code(done, wanted) or (0 if wanted.check else exit_code(gaps, None)),
    )


def _next(folder: RunFolder, done: Updated, wanted: Wanted) -> list[str]:
    if wanted.check:
        stale = any(one.status not in ("identical", "skip") for one in done.statuses)
        return [f"scaffold update {folder.name}"] if stale else []
    return [f"scaffold verify {folder.name}"] if done.changed else []


def _exit_code(done: Updated, wanted: Wanted) -> int:
    """1 where markers are left to resolve, or, when comparing, where the tree has drifted."""
    if not wanted.check:
        return int(bool(done.conflicts))
    settled = ("identical", "skip") if wanted.allow_edits else ("identical",)
    return int(any(one.status not in settled for one in done.statuses))
