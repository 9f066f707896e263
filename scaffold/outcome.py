"""What a command did, as one value: printed for people, or as the one JSON object of `--json`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from scaffold_tools.blueprint.facts import Gap
from scaffold_tools.verify.evidence import Evidence
from scaffold_tools.verify.locate import Divergence
from scaffold_tools.workspace.plan import Status


@dataclass(frozen=True)
class FileState:
    """One planned file against the tree."""

    path: str
    status: Status
    summary: str
    reason: str = ""
    """Why it is left alone or a conflict, or what was merged."""


@dataclass(frozen=True)
class Outcome:
    """The result of new-model, plan, apply, update or verify."""

    model: str
    architecture: str
    run_folder: str | None
    """None after a dry run, which writes nothing at all."""
    target: str
    root: str | None = None
    """The package or checkout that the files belong to."""
    package: str | None = None
    """Import name that registers the integration."""
    supported_by: str | None = None
    """`module:Class` that the target had for this architecture before."""
    generated: bool = False
    """False when the target's own integration was verified instead."""
    written: bool = False
    files: tuple[FileState, ...] = ()
    diff: str | None = None
    gaps: tuple[Gap, ...] = ()
    evidence: Evidence | None = None
    evidence_reused: bool = False
    """The figures are from an earlier run with the same inputs."""
    proven: bool | None = None
    """None when nothing was verified."""
    divergence: Divergence | None = None
    """Where the models part, when that was asked for."""
    notes: tuple[str, ...] = ()
    next_commands: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    exit_code: int = 0


@dataclass(frozen=True)
class ValueState:
    """Whether a value of the run folder has been made."""

    value: str
    file: str
    made: bool


@dataclass(frozen=True)
class RunStatus:
    """How far a run is."""

    model: str
    run_folder: str
    values: tuple[ValueState, ...]
    files: tuple[FileState, ...]
    proven: bool | None


def exit_code(gaps: tuple[Gap, ...], evidence: Evidence | None) -> int:
    """3 while gaps remain (a check that fails is then expected), 1 when something is disproven, else 0."""
    if gaps:
        return 3
    return 0 if evidence is None or evidence.proven else 1


def that_remain(gaps: Collection[Gap]) -> str:
    """How many gaps there are, as a clause: `1 gap remains`."""
    return "1 gap remains" if len(gaps) == 1 else f"{len(gaps)} gaps remain"
