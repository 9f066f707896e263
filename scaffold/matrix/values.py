"""What the matrix works on and what it writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from scaffold.options import DEFAULT_TARGET

OutcomeName = Literal["proven", "proven-with-block", "gap", "not-a-decoder"]
BASE = "base"
"""The variant with the class's own defaults."""


@dataclass(frozen=True)
class Subject:
    """What every case is measured for. A checkout, where the target needs one, is named in the environment."""

    target: str = DEFAULT_TARGET
    processes: bool = True
    """Whether what is proven in one process is also split over several, and trained."""


MEGATRON_BRIDGE = Subject()
PROVEN = ("proven", "proven-with-block")
"""Outcomes that count as proven."""


@dataclass(frozen=True)
class Case:
    """One model type in one variant."""

    model_type: str
    variant: str = BASE
    config: dict[str, Any] | None = None
    """The variant's config.json; None for the base, whose config is the class's defaults."""

    @property
    def name(self) -> str:
        """Unique in a run, and a safe file name: both parts are a stranger's text."""
        parts = (self.model_type,) if self.variant == BASE else (self.model_type, self.variant)
        return "--".join("".join(ch if ch.isalnum() or ch in "._-" else "_" for ch in part) for part in parts)


@dataclass(frozen=True)
class GapLine:
    """One gap, short."""

    subject: str
    reason: str
    hf_source: str | None = None
    """`modeling_x.py:12`."""


@dataclass(frozen=True)
class Row:
    """One entry of docs/coverage.json."""

    model_type: str
    variant: str
    architecture: str
    outcome: OutcomeName
    """proven: every check passed, nothing is open. proven-with-block: the same, with a custom block in the family
    folder. gap: something is open, or a check failed. not-a-decoder: measured to be something else."""
    reason: str
    """Why it is not plainly proven; empty where it is."""
    hf_source: str | None = None
    """The line of transformers that the reason is about."""
    unexplained: bool = False
    """A check failed and no gap says why, or the probe or something else broke: a fault of ours."""
    structure: str = ""
    """What the classification says of it."""
    logits_max_abs: dict[str, float | str | None] | None = None
    """Largest difference of the logits, by toy; None where no logits were compared."""
    round_trip: dict[str, str] | None = None
    """passed, failed or skipped, by toy."""
    gaps: tuple[GapLine, ...] = ()
    """The first of them."""
    gap_count: int = 0
    repairs: tuple[str, ...] = ()
    """What the class's own defaults lacked."""
    seconds: float = 0.0
    peak_mb: int | None = None
    """Largest resident memory of a job in the lane, libraries included."""


@dataclass(frozen=True)
class Finished:
    """What a worker answers."""

    row: Row | None
    """None for a variant that the class refuses: there is no such model."""
    config: dict[str, Any] | None = None
    """The base config; variants are made from it."""
    refused: str = ""


def failed(case: Case, reason: str, *, seconds: float = 0.0, architecture: str = "") -> Finished:
    """A case that ended in no answer of its own."""
    row = Row(case.model_type, case.variant, architecture, "gap", reason, unexplained=True, seconds=seconds)
    return Finished(row)
