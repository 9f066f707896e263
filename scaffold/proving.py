"""Measuring an integration: what has to be loaded, whether an earlier run has measured it, and the stage itself."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from scaffold.steps import Job, architecture_of, model_folder
from scaffold.targets import Target, find_target
from scaffold_tools.errors import BadInput

if TYPE_CHECKING:
    from scaffold.run_folder import RunFolder
    from scaffold_tools.blueprint.facts import Stored
    from scaffold_tools.source.inventory import Inventory
    from scaffold_tools.verify.evidence import Check, Evidence
    from scaffold_tools.verify.run import Integration
    from scaffold_tools.workspace.plan import Plan


def prove(
    job: Job,
    inventory: Inventory,
    integration: Integration,
    folder: RunFolder,
    *,
    architecture: str,
    earlier: Evidence | None,
) -> tuple[Evidence, bool]:
    """Measure, or take the figures of an earlier run whose inputs hash to the same.

    Returns:
        The evidence, and whether it was reused.
    """
    from scaffold import checkpoint
    from scaffold.fingerprint import fingerprint
    from scaffold.machine import site_packages
    from scaffold_tools.verify.run import verify_integration

    with job.progress.stage("verify") as stage:
        stored = stored_form(folder, inventory)
        switched = switched_flags(folder)
        given = {"stored": stored, "switched": switched, "processes": job.processes}
        key = fingerprint(inventory.config, integration, site_packages(), given)
        reused = earlier is not None and earlier.environment.get("inputs_sha256") == key and earlier.proven
        if earlier is not None and reused:
            stage.result = "figures of an earlier run: the inputs are equal"
            folder.save("evidence", earlier)
            return earlier, True
        shutil.rmtree(folder.path / "toys", ignore_errors=True)
        evidence = verify_integration(
            job.lane.session(),
            integration,
            config=inventory.config,
            architecture=architecture,
            workdir=folder.path / "toys",
            model_folder=model_folder(inventory),
            on_progress=stage.note,
            trust_remote_code=job.trust_remote_code,
            command=f"scaffold verify {folder.name}",
            stored=stored,
            script=copy_script(folder, integration),
            switched=switched,
        )
        subject = checkpoint.Subject(
            integration, inventory, architecture, model_folder(inventory), job.trust_remote_code
        )
        beyond = checkpoint.measure(job.lane, subject, stage.note)
        apart = in_processes(job, inventory, integration, evidence, stage.note)
        environment = {**evidence.environment, "inputs_sha256": key}
        checks = (*evidence.checks, *beyond, *apart)
        evidence = dataclasses.replace(evidence, checks=checks, environment=environment)
        folder.save("evidence", evidence)
        passed = sum(check.status == "passed" for check in evidence.checks)
        stage.result = f"{passed} of {len(evidence.checks)} checks passed"
    return evidence, False


def in_processes(
    job: Job, inventory: Inventory, integration: Integration, evidence: Evidence, say: Callable[[str], None]
) -> tuple[Check, ...]:
    """The integration in processes of its own: split in the few usual ways, and trained.

    `verify --sharded` does more. Where one process is not proven there is nothing to hold the others against.
    """
    from scaffold_tools.verify.evidence import Check
    from scaffold_tools.verify.lane import LaneJobFailed
    from scaffold_tools.verify.processes import left_out, verify_processes

    if not job.processes:
        return left_out("not asked for")
    if not evidence.proven:
        return left_out("one process is not proven")
    try:
        return verify_processes(
            job.lane.session(),
            integration,
            config=inventory.config,
            architecture=architecture_of(inventory),
            also=("trained",),
            model_folder=model_folder(inventory),
            trust_remote_code=job.trust_remote_code,
            on_progress=say,
        )
    except LaneJobFailed as failed:
        return (Check("sharded.build", "error", detail=failed.message),)


def stored_form(folder: RunFolder, inventory: Inventory) -> Stored | None:
    """How the real checkpoint stores its weights; where no blueprint was made, as headers and config tell it."""
    from scaffold_tools.blueprint.facts import Blueprint
    from scaffold_tools.blueprint.stored import derive_stored
    from scaffold_tools.classify.model import classify

    if folder.has("blueprint"):
        return folder.load("blueprint", Blueprint).stored
    return derive_stored(inventory, classify(inventory), ())


def switched_flags(folder: RunFolder) -> dict[str, bool]:
    """Flags of other sizes that the planned code is right for, too; none without a plan."""
    from scaffold_tools.workspace.plan import Plan

    return folder.load("plan", Plan).switched if folder.has("plan") else {}


def copy_script(folder: RunFolder, integration: Integration) -> Path | None:
    """The generated script that writes an unquantised copy, where the plan has one."""
    from scaffold_tools.workspace.plan import Plan

    name = folder.load("plan", Plan).copy_script if folder.has("plan") else None
    return integration.path / name if name is not None and integration.path is not None else None


def stored_evidence(folder: RunFolder) -> Evidence | None:
    """The evidence of an earlier run; None when there is none or somebody damaged it."""
    from scaffold_tools.verify.evidence import Evidence

    try:
        return folder.load("evidence", Evidence) if folder.has("evidence") else None
    except BadInput:
        return None


def integration_of(plan: Plan) -> Integration:
    """What verification has to load for a plan, and which jobs measure it.

    Raises:
        EnvironmentLacks: the target is on no registry, and no checkout of it is named.
    """
    from scaffold_tools.verify.run import Integration

    target, root = find_target(plan.target), Path(plan.root)
    if plan.layout == "package":
        return Integration("package", root, plan.package, jobs=target.jobs, framework=target.framework(None))
    return Integration(plan.layout, root, jobs=target.jobs, framework=target.framework(root))


def existing_integration(target: Target, repo: Path | None) -> Integration:
    """What verification has to load to measure what the target has already.

    Raises:
        EnvironmentLacks: as for `integration_of`.
    """
    from scaffold_tools.verify.run import Integration

    framework = target.framework(repo)
    checkout = repo or framework
    if checkout is None:
        return Integration("installed", jobs=target.jobs)
    return Integration("checkout", checkout, jobs=target.jobs, framework=framework)
