"""The tasks of a skill (`evals/evals.json`), and what came of them.

The fields `skill_name`, `evals`, `id`, `prompt`, `expected_output`, `files`, `expectations` and those of `Grading`
are those of the Agent Skills documentation; `setup` and `checks` are ours, and let a machine decide every expectation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from scaffold_tools.errors import BadInput
from scaffold_tools.jsonio import loads

Configuration = Literal["with_skill", "without_skill"]


@dataclass(frozen=True)
class Replace:
    """An edit of the setup: what the task is to be found with."""

    path: str
    old: str
    new: str


@dataclass(frozen=True)
class NewModel:
    """A run of `scaffold new-model` before the agent starts."""

    link: str
    trust_remote_code: bool = False
    with_stubs: bool = False
    regenerate: bool = False


@dataclass(frozen=True)
class Setup:
    """What lies in the folder when the agent starts, besides the files."""

    new_model: NewModel | None = None
    replace: tuple[Replace, ...] = ()


@dataclass(frozen=True)
class Verify:
    """A run of `scaffold verify` after the agent is done."""

    run: str
    trust_remote_code: bool = False


@dataclass(frozen=True)
class Check:
    """How one expectation is decided. Exactly one of the others is given."""

    expectation: str
    verify: Verify | None = None
    """The integration passes: exit code 0."""
    unchanged: str | None = None
    """A file that was given is as it was."""
    contains: tuple[str, str] | None = None
    """(glob, regular expression): some file that matches has it."""
    absent: str | None = None
    """No file matches this glob."""
    answer: str | None = None
    """A regular expression that the agent's closing words match."""


@dataclass(frozen=True)
class Eval:
    """One task."""

    id: str
    prompt: str
    expected_output: str
    files: tuple[str, ...]
    """Relative to the skill's folder; the part behind `evals/files/` is where the agent finds them."""
    expectations: tuple[str, ...]
    checks: tuple[Check, ...]
    setup: Setup = field(default_factory=Setup)


@dataclass(frozen=True)
class Evals:
    """`evals/evals.json` of one skill."""

    skill_name: str
    evals: tuple[Eval, ...]


@dataclass(frozen=True)
class Trigger:
    """A request, and whether an agent should follow the skill for it."""

    query: str
    should_trigger: bool


@dataclass(frozen=True)
class Expectation:
    """One expectation, decided."""

    text: str
    passed: bool
    evidence: str


@dataclass(frozen=True)
class Grading:
    """`grading.json`."""

    expectations: tuple[Expectation, ...]
    summary: dict[str, float]


@dataclass(frozen=True)
class Timing:
    """`timing.json`."""

    total_tokens: int | None
    """None where the agent did not say: unknown is not zero."""
    duration_ms: int
    agent_exit_code: int | None
    """None when it ran out of time."""


@dataclass(frozen=True)
class Measured:
    """One task, done once in one configuration."""

    skill: str
    eval: str
    configuration: Configuration
    run: int
    timing: Timing
    grading: Grading

    @property
    def passed(self) -> bool:
        """Every expectation."""
        return all(one.passed for one in self.grading.expectations)


def load_evals(skill: Path) -> Evals:
    """The tasks of a skill.

    Raises:
        BadInput: the file does not fit, or an expectation has no check, or a check not exactly one way to decide.
    """
    path = skill / "evals" / "evals.json"
    found = loads(Evals, _text(path), where=str(path))
    if found.skill_name != skill.name:
        raise BadInput(f"{path} is for {found.skill_name}")
    for one in found.evals:
        if [check.expectation for check in one.checks] != list(one.expectations):
            raise BadInput(f"{path}: {one.id}: expectations and checks do not go in pairs")
        for check in one.checks:
            ways: list[Any] = [check.verify, check.unchanged, check.contains, check.absent, check.answer]
            if sum(way is not None for way in ways) != 1:
                raise BadInput(f"{path}: {one.id}: {check.expectation!r} is not decided in exactly one way")
    return found


def load_triggers(skill: Path) -> tuple[Trigger, ...]:
    """The requests of `evals/triggers.json`."""
    path = skill / "evals" / "triggers.json"
    return loads(tuple[Trigger, ...], _text(path), where=str(path))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
