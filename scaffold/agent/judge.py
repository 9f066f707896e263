"""Whether a change brought something: a table of what counts, measured, never what anybody says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scaffold.toolbox.answers import VerifyAnswer

DIFFERENCE = "logits.max_abs"
NEARER = 0.9
"""Logits count as nearer when their largest difference is below this part of the best one so far."""


@dataclass(frozen=True)
class Score:
    """How far a state of the files is."""

    passed: int
    """Checks that passed, over all toys."""
    difference: float
    """Largest difference of the logits; infinite where they were not compared."""

    def beats(self, other: Score) -> bool:
        """More checks pass; or as many, and the logits are nearer."""
        if self.passed != other.passed:
            return self.passed > other.passed
        return self.difference < NEARER * other.difference


def score(found: VerifyAnswer | None) -> Score:
    """The score of a verification; of one that broke, nothing."""
    if found is None:
        return Score(0, math.inf)
    compared = [check for check in found.not_passed if check.name == DIFFERENCE]
    if not all(isinstance(check.value, (int, float)) and math.isfinite(check.value) for check in compared):
        return Score(found.passed, math.inf)
    return Score(found.passed, max((float(check.value or 0.0) for check in compared), default=0.0))


def differs(found: VerifyAnswer) -> bool:
    """Whether both models ran and computed something else: only then there is a first divergence to look for."""
    return any(check.name == DIFFERENCE and check.status == "failed" for check in found.not_passed)


class Judge:
    """Sees every measurement, and counts rounds that bring nothing."""

    def __init__(self, *, patience: int = 2) -> None:
        self.last: VerifyAnswer | None = None
        self.idle = 0
        self.patience = patience
        self._best: Score | None = None
        self._better = False

    def saw(self, found: VerifyAnswer | None) -> None:
        """What was measured; None: verification broke. The first is where the work starts from."""
        self.last = found
        now = score(found)
        if self._best is not None and not now.beats(self._best):
            return
        self._better = self._best is not None
        self._best = now

    def round_over(self) -> None:
        """A round of the conversation is over that changed something, or that only claimed to be done."""
        self.idle = 0 if self._better else self.idle + 1
        self._better = False

    @property
    def stuck(self) -> bool:
        """Whether it is time to stop."""
        return self.idle >= self.patience

    @property
    def proven(self) -> bool:
        """Every check passes and no gap is open."""
        return self.last is not None and self.last.proven and not self.last.gaps
