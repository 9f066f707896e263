"""When to kill a process, so that some kills come before the moment that decides and some after it, at any pace."""

from __future__ import annotations

import random


class KillMoments:
    """Waits around the moment at which the outcome turns, which each outcome shows more closely.

    A wait that was measured once says little of the next run: the first one reads files from the disk, and others may
    be at work. So after a kill that came too late the waits get shorter, and after one that came too early longer.
    """

    def __init__(self, guess: float, seed: int = 7) -> None:
        self._turn = guess
        self._step = 2.0
        self._last = ""
        self._chance = random.Random(seed)
        self.outcomes = {"old": 0, "new": 0}

    def wait(self) -> float:
        """Seconds from the start of the process to its kill."""
        return self._turn * self._chance.uniform(0.4, 1.6)

    def saw(self, outcome: str) -> None:
        """What the kill left behind: `old` or `new`."""
        self.outcomes[outcome] += 1
        if self._last not in ("", outcome):
            self._step = max(1.2, self._step**0.5)  # close by
        self._last = outcome
        self._turn *= self._step if outcome == "old" else 1 / self._step

    @property
    def both(self) -> bool:
        """Whether kills came on both sides of the moment."""
        return min(self.outcomes.values()) > 0
