"""Calls the stages in order, for each command that needs more than one. Values go one way; nothing reaches back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from scaffold import look, proving, run_folder, steps
from scaffold.family import open_gaps
from scaffold.figures import keep_figures
from scaffold.outcome import FileState, Outcome, exit_code
from scaffold.run_folder import RunFolder
from scaffold.steps import Job, Settings
from scaffold.targets import Target, find_target
from scaffold_tools.errors import BadInput

if TYPE_CHECKING:
    from scaffold.lane import EarlyLane
    from scaffold.progress import Progress
    from scaffold_tools.blueprint.facts import Blueprint
    from scaffold_tools.source.inventory import Inventory
    from scaffold_tools.verify.evidence import Evidence
    from scaffold_tools.workspace.plan import Plan

__all__ = ["Settings", "apply_plan", "new_model", "plan_from_blueprint", "plan_only", "verify_run"]


def new_model(settings: Settings, progress: Progress, *, lane: EarlyLane | None = None) -> Outcome:
    """Link to checklist. With `lane`, jobs run in one that is open already and stays open."""
    with _job(settings, progress, lane=lane) as job:
        made = _up_to_plan(job, settings, keep=not settings.dry_run)
        if made.outcome is not None:
            return made.outcome if settings.dry_run else _prove_existing(job, settings, made)
        assert made.plan is not None
        if settings.dry_run:
            return _dry_run(made, progress)
        folder = made.folder
        assert folder is not None
        applied = steps.write(job, made.plan, made.inventory, folder, allow_dirty=settings.allow_dirty)
        outcome = dataclasses.replace(
            _outcome(made, progress),
            written=True,
            files=tuple(FileState(item.path, item.status, item.summary, item.reason) for item in applied.statuses),
        )
        if settings.verify:
            outcome = _prove_plan(job, outcome, made.inventory, made.plan, folder, earlier=made.earlier)
        look.write_checklist(folder)
        return dataclasses.replace(outcome, seconds=dict(progress.seconds))


def plan_only(settings: Settings, progress: Progress, *, lane: EarlyLane | None = None) -> Outcome:
    """Link to plan; only the run folder is written. With `lane`, as for `new_model`."""
    with _job(settings, progress, lane=lane) as job:
        made = _up_to_plan(job, settings, keep=True)
        return made.outcome or _outcome(made, progress)


def plan_from_blueprint(settings: Settings, blueprint_file: Path, progress: Progress) -> Outcome:
    """A blueprint that somebody may have edited, to a plan; the run folder is the one that it lies in.

    Raises:
        BadInput: the file does not fit, or lies in no run folder.
    """
    from scaffold_tools.blueprint.facts import Blueprint

    blueprint = run_folder.read_value(blueprint_file, Blueprint)
    folder = RunFolder(blueprint_file.absolute().parent)
    if not folder.has("inventory"):
        raise BadInput(
            f"{blueprint_file} lies in no run folder", hint="edit .scaffold/<model>/blueprint.json in place"
        )
    inventory = look.load_inventory(folder)
    with _job(settings, progress) as job:
        target = find_target(settings.target)
        profile = steps.profile_of(target, settings.repo)
        folder.forget_after("blueprint")
        folder.save("blueprint", blueprint)
        plan = steps.make_plan(
            job, settings, blueprint, folder, source=inventory.source, target=target, profile=profile
        )
        supported = target.supported_by(profile, blueprint.architecture, blueprint.model_type)
        return _outcome(_Made(folder, inventory, blueprint, plan, target, supported), progress)


def apply_plan(folder: RunFolder, progress: Progress, *, allow_dirty: bool) -> Outcome:
    """Write the plan of a run."""
    plan, inventory = look.load_plan(folder), look.load_inventory(folder)
    with _job(None, progress) as job:
        applied = steps.write(job, plan, inventory, folder, allow_dirty=allow_dirty)
    made = _written(plan, inventory, folder)
    return dataclasses.replace(
        made,
        files=tuple(FileState(item.path, item.status, item.summary, item.reason) for item in applied.statuses),
        next_commands=(f"scaffold verify {folder.name}",),
        seconds=dict(progress.seconds),
        exit_code=exit_code(made.gaps, None),
    )


def _written(plan: Plan, inventory: Inventory, folder: RunFolder) -> Outcome:
    """What is known of a run whose files lie on disk."""
    return Outcome(
        model=inventory.source.name,
        architecture=_architecture(folder, inventory),
        run_folder=str(folder.path),
        target=plan.target,
        root=plan.root,
        package=plan.package,
        generated=True,
        written=True,
        gaps=open_gaps(plan),
    )


def verify_run(
    folder: RunFolder, progress: Progress, *, lane: str, trust_remote_code: bool, session: EarlyLane | None = None
) -> Outcome:
    """Measure what lies on disk now. With `session`, in a lane that is open already and stays open."""
    steps.check_lane(lane)
    plan, inventory = look.load_plan(folder), look.load_inventory(folder)
    outcome = _written(plan, inventory, folder)
    with _job(None, progress, trust_remote_code, lane=session) as job:
        outcome = _prove_plan(job, outcome, inventory, plan, folder, earlier=None)
    look.write_checklist(folder)
    return dataclasses.replace(outcome, seconds=dict(progress.seconds))


@dataclasses.dataclass(frozen=True)
class _Made:
    """Everything up to the plan; `outcome` instead of a plan where the target supports the architecture already."""

    folder: RunFolder | None
    inventory: Inventory
    blueprint: Blueprint | None
    plan: Plan | None
    target: Target
    supported_by: str | None
    outcome: Outcome | None = None
    earlier: Evidence | None = None
    """What an earlier run measured, read before this run's first value replaced what it rested on."""


@contextmanager
def _job(
    settings: Settings | None, progress: Progress, trust_remote_code: bool = False, *, lane: EarlyLane | None = None
) -> Iterator[Job]:
    if settings is not None:
        steps.check_settings(settings)
        trust_remote_code = settings.trust_remote_code
    processes = settings is None or settings.processes
    with steps.open_job(progress, trust_remote_code, lane=lane, processes=processes) as job:
        yield job


def _up_to_plan(job: Job, settings: Settings, *, keep: bool) -> _Made:
    inventory = steps.read(job, settings.link)
    target = find_target(settings.target)
    profile = steps.profile_of(target, settings.repo)
    folder = run_folder.for_model(inventory.source.name, settings.base) if keep else None
    # Nothing is written before here: what was given is good.
    job.lane.start(folder.path / run_folder.LANE_LOG if folder else None)
    inventory = steps.complete(job, inventory)
    classification = steps.describe(job, inventory)
    earlier = None
    if folder is not None:
        earlier = proving.stored_evidence(folder)
        folder.forget_after("source")
        folder.save("source", inventory.source)
        folder.save("inventory", inventory)
        folder.save("classification", classification)
    architecture = steps.architecture_of(inventory)
    supported = target.supported_by(profile, architecture, inventory.config.get("model_type"))
    if supported is not None and folder is not None and steps.is_ours(supported, folder, settings.repo):
        supported = None  # by what an earlier run of this very command wrote
    if supported is not None and not settings.regenerate:
        outcome = Outcome(
            model=inventory.source.name,
            architecture=architecture,
            run_folder=None if folder is None else str(folder.path),
            target=target.name,
            supported_by=supported,
        )
        return _Made(folder, inventory, None, None, target, supported, outcome, earlier)
    blueprint = steps.derive(job, inventory, classification, folder)
    plan = steps.make_plan(job, settings, blueprint, folder, source=inventory.source, target=target, profile=profile)
    return _Made(folder, inventory, blueprint, plan, target, supported, None, earlier)


def _outcome(made: _Made, progress: Progress) -> Outcome:
    plan, blueprint = made.plan, made.blueprint
    assert plan is not None
    assert blueprint is not None
    gaps = tuple(dict.fromkeys((*blueprint.gaps, *plan.gaps)))
    return Outcome(
        model=blueprint.model_name,
        architecture=blueprint.architecture,
        run_folder=None if made.folder is None else str(made.folder.path),
        target=made.target.name,
        root=plan.root,
        package=plan.package,
        supported_by=made.supported_by,
        generated=True,
        files=look.file_states(plan, made.folder),
        gaps=gaps,
        notes=tuple(dict.fromkeys((*made.inventory.notes, *blueprint.notes, *plan.notes))),
        next_commands=plan.next_commands,
        seconds=dict(progress.seconds),
        exit_code=exit_code(gaps, None),
    )


def _dry_run(made: _Made, progress: Progress) -> Outcome:
    from scaffold_tools.workspace import diff

    assert made.plan is not None
    return dataclasses.replace(_outcome(made, progress), diff=diff(made.plan, Path(made.plan.root)))


def _prove_plan(
    job: Job, outcome: Outcome, inventory: Inventory, plan: Plan, folder: RunFolder, *, earlier: Evidence | None
) -> Outcome:
    evidence, reused = proving.prove(
        job,
        inventory,
        proving.integration_of(plan),
        folder,
        architecture=outcome.architecture,
        earlier=earlier,
    )
    keep_figures(folder, evidence)
    return _proven(outcome, evidence, reused)


def _prove_existing(job: Job, settings: Settings, made: _Made) -> Outcome:
    """The target has this architecture: measure that integration."""
    outcome = made.outcome
    assert outcome is not None
    assert made.folder is not None
    if not settings.verify:
        return outcome
    integration = proving.existing_integration(made.target, settings.repo)
    evidence, reused = proving.prove(
        job, made.inventory, integration, made.folder, architecture=outcome.architecture, earlier=made.earlier
    )
    look.write_checklist(made.folder)
    better = () if evidence.proven else (f"scaffold new-model {settings.link} --regenerate",)
    done = dataclasses.replace(_proven(outcome, evidence, reused), next_commands=better)
    return dataclasses.replace(done, seconds=dict(job.progress.seconds))


def _proven(outcome: Outcome, evidence: Evidence, reused: bool) -> Outcome:
    return dataclasses.replace(
        outcome,
        evidence=evidence,
        evidence_reused=reused,
        proven=evidence.proven,
        exit_code=exit_code(outcome.gaps, evidence),
    )


def _architecture(folder: RunFolder, inventory: Inventory) -> str:
    from scaffold_tools.blueprint.facts import Blueprint

    if folder.has("blueprint"):
        return folder.load("blueprint", Blueprint).architecture
    return steps.architecture_of(inventory)
