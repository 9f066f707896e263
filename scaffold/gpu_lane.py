"""`scaffold verify --lane gpu|gpu-multi`: an integration on the GPUs of this machine, or a script for a cluster."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaffold import look, proving, run_folder, steps
from scaffold.options import DEFAULT_TARGET
from scaffold.outcome import Outcome, exit_code
from scaffold.run_folder import RunFolder
from scaffold_tools.errors import BadInput

if TYPE_CHECKING:
    from scaffold.progress import Progress
    from scaffold.verifying import HandWritten
    from scaffold_tools.source.inventory import Inventory
    from scaffold_tools.verify.gpu import Device
    from scaffold_tools.verify.run import Integration
    from scaffold_tools.workspace.plan import Plan

LANES = ("gpu", "gpu-multi")
GPUS = {"gpu": 1, "gpu-multi": 4}
"""GPUs that a script asks for, by lane."""


@dataclass(frozen=True)
class SlurmJob:
    """What the script is made of."""

    model: str
    command: tuple[str, ...]
    lanes: tuple[str, ...]
    gpus: int


@dataclass(frozen=True)
class _Subject:
    """What goes onto the GPUs."""

    folder: RunFolder
    inventory: Inventory
    integration: Integration
    tests: tuple[Path, ...]
    plan: Plan | None
    command: tuple[str, ...]


def check_lane(lane: str) -> None:
    """Raises BadInput for a lane that does not exist."""
    if lane not in ("cpu", *LANES):
        raise BadInput(f"there is no lane {lane!r}", hint=f"lanes: cpu, {', '.join(LANES)}")


def verify_run(
    folder: RunFolder, progress: Progress, lane: str, *, trust_remote_code: bool, device: Device | None = None
) -> Outcome:
    """Measure the integration of a run on GPUs.

    Raises:
        EnvironmentLacks: there is no GPU.
    """
    plan, inventory = look.load_plan(folder), look.load_inventory(folder)
    subject = _Subject(folder, inventory, proving.integration_of(plan), tests_of(plan), plan, command_of(folder.name))
    return _verify(subject, progress, lane, trust_remote_code, device)


def verify_bridge(
    given: HandWritten, progress: Progress, lane: str, *, trust_remote_code: bool, device: Device | None = None
) -> Outcome:
    """Measure a bridge that somebody wrote by hand on GPUs.

    Raises:
        EnvironmentLacks: there is no GPU.
    """
    from scaffold.lane import EarlyLane
    from scaffold.steps import Job

    integration = given.integration()
    inventory = steps.read(Job(progress, EarlyLane(), trust_remote_code), given.hf)
    folder = run_folder.for_model(f"{inventory.source.name}@{given.bridge.partition(':')[2]}")
    folder.save("source", inventory.source)
    folder.save("inventory", inventory)
    subject = _Subject(folder, inventory, integration, (), None, command_of(given))
    return _verify(subject, progress, lane, trust_remote_code, device)


def _verify(
    subject: _Subject, progress: Progress, lane: Any, trust_remote_code: bool, device: Device | None
) -> Outcome:
    from scaffold_tools.verify.gpu import find_gpus, verify_gpu

    with progress.stage("gpus") as stage:
        found = device or find_gpus()
        stage.result = ", ".join(found.found.get("gpus", ())) or f"{found.count} processes on {found.kind}"
    architecture = steps.architecture_of(subject.inventory)
    with progress.stage("verify") as stage:
        evidence = verify_gpu(
            lane,
            subject.integration,
            found,
            config=subject.inventory.config,
            architecture=architecture,
            tests=subject.tests,
            model_folder=steps.model_folder(subject.inventory),
            trust_remote_code=trust_remote_code,
            command=shlex.join((*subject.command, "--lane", lane)),
            on_progress=stage.note,
        )
        subject.folder.save(f"evidence_{lane}", evidence)
        passed = sum(check.status == "passed" for check in evidence.checks)
        stage.result = f"{passed} of {len(evidence.checks)} checks passed"
    plan = subject.plan
    return Outcome(
        model=subject.inventory.source.name,
        architecture=architecture,
        run_folder=str(subject.folder.path),
        target=plan.target if plan else DEFAULT_TARGET,
        root=plan.root if plan else None,
        package=plan.package if plan else None,
        generated=plan is not None,
        written=plan is not None,
        evidence=evidence,
        proven=evidence.proven,
        exit_code=exit_code((), evidence),
        seconds=dict(progress.seconds),
    )


def tests_of(plan: Plan) -> tuple[Path, ...]:
    """Test files of a plan that lie on disk: unit and functional ones."""
    paths = [Path(change.path) for change in plan.changes if Path(change.path).name.startswith("test_")]
    return tuple(file for path in paths if (file := Path(plan.root) / path).is_file() and path.suffix == ".py")


def command_of(given: str | HandWritten) -> tuple[str, ...]:
    """What measures a run, by its name, or a bridge that somebody wrote by hand."""
    if isinstance(given, str):
        return ("scaffold", "verify", given)
    places = (("--repo", given.repo), ("--path", given.path))
    named = [word for option, path in places if path is not None for word in (option, str(path))]
    return ("scaffold", "verify", "--bridge", given.bridge, "--hf", given.hf, *named)


def slurm_script(model: str, command: tuple[str, ...], lane: str) -> str:
    """A script for sbatch that runs the lane (both GPU lanes where none was named) and keeps the answers."""
    from scaffold_tools.paths import data_dir
    from scaffold_tools.render import Renderer

    lanes = LANES if lane == "cpu" else (lane,)
    job = SlurmJob(model, command, lanes, max(GPUS[one] for one in lanes))
    return Renderer(data_dir("templates")).render("slurm/verify.sh.j2", {"job": job})
