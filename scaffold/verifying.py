"""Beyond measuring a run: a bridge that somebody wrote by hand, and the first divergence."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaffold import heat_strip, look, proving, run_folder, steps
from scaffold.lane import EarlyLane
from scaffold.options import DEFAULT_TARGET
from scaffold.outcome import Outcome, exit_code
from scaffold.run_folder import RunFolder
from scaffold.steps import Job
from scaffold_tools.errors import BadInput

if TYPE_CHECKING:
    from scaffold.progress import Progress
    from scaffold_tools.verify.evidence import Check
    from scaffold_tools.verify.locate import Divergence
    from scaffold_tools.verify.run import Integration
    from scaffold_tools.verify.static import Layout

Put = Callable[[tuple["Check", ...], tuple["Check", ...]], tuple["Check", ...]]
"""Given the checks so far and new ones; what stands there after."""
BRIDGE = re.compile(r"(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)")
OWN_MODULE = "megatron.bridge"


@dataclass(frozen=True)
class HandWritten:
    """A bridge that no run of ours made."""

    bridge: str
    """`module:Class`."""
    hf: str
    """The link to the model that it is for."""
    repo: Path | None = None
    """A checkout of Megatron-Bridge that has it."""
    path: Path | None = None
    """The folder that its module is imported from."""

    def integration(self) -> Integration:
        """What verification has to load.

        Raises:
            BadInput: not a `module:Class`, or a folder that is none.
        """
        from scaffold_tools.verify.run import Integration

        found = BRIDGE.fullmatch(self.bridge)
        if found is None:
            raise BadInput(f"--bridge {self.bridge!r} is not module:Class", hint="as in my_package.my_bridge:MyBridge")
        for option, folder in (("--repo", self.repo), ("--path", self.path)):
            if folder is not None and not folder.is_dir():
                raise BadInput(f"{option} {folder} is not a folder")
        module = found["module"]
        if self.repo is not None:
            return Integration("checkout", self.repo, module, self.bridge)
        if module == OWN_MODULE or module.startswith(f"{OWN_MODULE}."):
            return Integration("installed", None, module, self.bridge)
        return Integration("package", (self.path or Path.cwd()).absolute(), module, self.bridge)


@dataclass(frozen=True)
class Depth:
    """What is done beyond the toys."""

    locate: bool = False
    static: bool = False
    keys: bool = False
    sharded: bool = False
    """Every usual layout, or those of `layouts`, in real processes."""
    layouts: tuple[Layout, ...] = ()
    """In real processes; with `static`, by arithmetic, and in processes only with `sharded`."""


@dataclass(frozen=True)
class _Given:
    """A run's model and integration, which every further measurement takes."""

    job: Job
    folder: RunFolder
    integration: Integration
    architecture: str

    def measured[Found](
        self, name: str, measure: Callable[..., Found], said: Callable[[Found], str], **more: Any
    ) -> Found:
        """What `measure` found, as a stage that ends in the words of `said`."""
        inventory = look.load_inventory(self.folder)
        with self.job.progress.stage(name) as stage:
            found = measure(
                self.job.lane.session(),
                self.integration,
                config=inventory.config,
                architecture=self.architecture,
                model_folder=steps.model_folder(inventory),
                trust_remote_code=self.job.trust_remote_code,
                on_progress=stage.note,
                **more,
            )
            stage.result = said(found)
        return found


def verify_bridge(given: HandWritten, progress: Progress, depth: Depth, *, trust_remote_code: bool) -> Outcome:
    """Measure a bridge that somebody wrote by hand, as strictly as a generated one."""
    integration = given.integration()
    with EarlyLane() as lane:
        job = Job(progress, lane, trust_remote_code)
        inventory = steps.read(job, given.hf)
        folder = run_folder.for_model(f"{inventory.source.name}@{given.bridge.partition(':')[2]}")
        lane.start(folder.path / run_folder.LANE_LOG)
        folder.save("source", inventory.source)
        folder.save("inventory", inventory)
        architecture = steps.architecture_of(inventory)
        evidence, _ = proving.prove(job, inventory, integration, folder, architecture=architecture, earlier=None)
        outcome = Outcome(
            model=inventory.source.name,
            architecture=architecture,
            run_folder=str(folder.path),
            target=DEFAULT_TARGET,
            evidence=evidence,
            proven=evidence.proven,
            exit_code=exit_code((), evidence),
        )
        outcome = deepen(outcome, folder, integration, job, depth)
    return dataclasses.replace(outcome, seconds=dict(progress.seconds))


def verify_run(folder: RunFolder, progress: Progress, depth: Depth, *, lane: str, trust_remote_code: bool) -> Outcome:
    """Measure what lies on disk now."""
    from scaffold import pipeline

    with EarlyLane() as opened:
        outcome = pipeline.verify_run(folder, progress, lane=lane, trust_remote_code=trust_remote_code, session=opened)
        integration = proving.integration_of(look.load_plan(folder))
        outcome = deepen(outcome, folder, integration, Job(progress, opened, trust_remote_code), depth)
    return dataclasses.replace(outcome, seconds=dict(progress.seconds))


def deepen(outcome: Outcome, folder: RunFolder, integration: Integration, job: Job, depth: Depth) -> Outcome:
    """The outcome with what was asked for beyond the toys."""
    from scaffold_tools.verify.processes import with_sharded

    given = _Given(job, folder, integration, outcome.architecture)
    if depth.static:
        outcome = _with_checks(outcome, folder, _static(given, depth.layouts), _with_static)
    if depth.sharded or (depth.layouts and not depth.static):
        outcome = _with_checks(outcome, folder, _sharded(given, depth.layouts), with_sharded)
    if depth.keys:
        outcome = _with_checks(outcome, folder, _keys(given), lambda before, checks: (*before, *checks))
    if depth.locate:
        outcome = with_divergence(outcome, _locate(given))
    return outcome


def locate_run(
    folder: RunFolder, progress: Progress, *, trust_remote_code: bool, lane: EarlyLane | None = None
) -> Divergence:
    """The first divergence of a run's integration as it lies on disk. With `lane`, in one that stays open."""
    plan, inventory = look.load_plan(folder), look.load_inventory(folder)
    with EarlyLane() if lane is None else nullcontext(lane) as opened:
        job = Job(progress, opened, trust_remote_code)
        return _locate(_Given(job, folder, proving.integration_of(plan), steps.architecture_of(inventory)))


def _with_checks(outcome: Outcome, folder: RunFolder, checks: tuple[Check, ...], put: Put) -> Outcome:
    """The outcome, and the run's evidence, with more checks."""
    from scaffold_tools.verify.evidence import Evidence

    stored = folder.load("evidence", Evidence)
    folder.save("evidence", dataclasses.replace(stored, checks=put(stored.checks, checks)))
    assert outcome.evidence is not None
    evidence = dataclasses.replace(outcome.evidence, checks=put(outcome.evidence.checks, checks))
    code = exit_code(outcome.gaps, evidence)
    return dataclasses.replace(outcome, evidence=evidence, proven=evidence.proven, exit_code=code)


def _with_static(before: tuple[Check, ...], checks: tuple[Check, ...]) -> tuple[Check, ...]:
    """What was asked for takes the place of what is looked at unasked."""
    return (*(check for check in before if not check.name.startswith("static.")), *checks)


def with_divergence(outcome: Outcome, divergence: Divergence) -> Outcome:
    """The outcome with what was located; one that differs is not proven, whatever else passed."""
    code = outcome.exit_code or (0 if divergence.agrees else 1)
    return dataclasses.replace(outcome, divergence=divergence, exit_code=code)


def _static(given: _Given, layouts: Sequence[Layout]) -> tuple[Check, ...]:
    """An integration held against the tensors of the real model, without weights."""
    from scaffold_tools.verify.static import USUAL_LAYOUTS, verify_static

    inventory = steps.complete(given.job, look.load_inventory(given.folder))
    assert inventory.tensors is not None
    with given.job.progress.stage("static") as stage:
        checks = verify_static(
            given.job.lane.session(),
            given.integration,
            config=inventory.config,
            architecture=steps.architecture_of(inventory),
            tensors=inventory.tensors,
            layouts=layouts or USUAL_LAYOUTS,
            on_progress=stage.note,
        )
        stage.result = _passed(checks)
    return checks


def _sharded(given: _Given, layouts: Sequence[Layout]) -> tuple[Check, ...]:
    """The integration split over real processes, saved and loaded; it takes the place of the few usual layouts."""
    from scaffold_tools.verify.processes import verify_processes

    return given.measured("sharded", verify_processes, _passed, layouts=layouts or "all", also=("saved",))


def _keys(given: _Given) -> tuple[Check, ...]:
    """Whether the integration follows the config, key by key."""
    from scaffold_tools.verify.keys import Keys, verify_keys

    def said(found: Keys) -> str:
        return ", ".join(f"{check.value} keys followed" for check in found.checks)

    return given.measured("keys", verify_keys, said).checks


def _locate(given: _Given) -> Divergence:
    from scaffold_tools.verify.locate import locate_divergence

    def said(divergence: Divergence) -> str:
        if not divergence.sites:
            return "nothing could be compared"
        return f"first divergence: {divergence.found.culprit}" if divergence.found else "no value differs"

    divergence = given.measured("locate", locate_divergence, said)
    given.folder.save("divergence", divergence)
    given.folder.save("heat_strip", heat_strip.render(divergence))
    return divergence


def _passed(checks: Sequence[Check]) -> str:
    return f"{sum(check.status == 'passed' for check in checks)} of {len(checks)} checks passed"
