"""One call of a tool under way: what it tells, and how it is stopped."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from scaffold.lane import EarlyLane
from scaffold.progress import Progress, Stage
from scaffold.toolbox.border import Border
from scaffold.toolbox.keeper import LaneKeeper
from scaffold_tools.errors import ScaffoldError


class Cancelled(ScaffoldError):
    """The caller took its request back; nothing is left half done."""

    exit_code = 130


class ToldProgress(Progress):
    """Stages as lines for whoever listens, and the place where a call notices that it was cancelled."""

    def __init__(self, tell: Callable[[str], None], cancelled: threading.Event) -> None:
        super().__init__(stream=io.StringIO())
        self._tell = tell
        self._cancelled = cancelled

    def show(self, stage: Stage, text: str) -> None:
        """See the base class.

        Raises:
            Cancelled: the call was cancelled.
        """
        if self._cancelled.is_set():
            raise Cancelled(f"cancelled during {stage.name}")
        super().show(stage, text)

    def line(self, text: str) -> None:
        """One line to the listener."""
        self._tell(" ".join(text.split()))


@dataclass(frozen=True)
class Work:
    """What a tool's function is given besides its arguments."""

    border: Border
    progress: Progress
    lane: EarlyLane


class Stop:
    """Stops one call, from any thread and at any time, also before it has begun."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._lane: EarlyLane | None = None

    def now(self) -> None:
        """What runs in the lane is killed, and the next step does not begin."""
        self.asked.set()
        lane = self._lane
        if lane is not None:
            lane.abort()

    @contextmanager
    def watching(self, lane: EarlyLane) -> Iterator[None]:
        """While this lasts, `now` ends that lane.

        Raises:
            Cancelled: it was asked for already.
        """
        self._lane = lane
        try:
            if self.asked.is_set():
                raise Cancelled("cancelled before it began")
            yield
        finally:
            self._lane = None


@contextmanager
def work_in(border: Border, tell: Callable[[str], None], stop: Stop, lanes: LaneKeeper) -> Iterator[Work]:
    """One call, in a lane that is lent for it."""
    try:
        with lanes.lend() as lane, stop.watching(lane):
            yield Work(border, ToldProgress(tell, stop.asked), lane)
    except ScaffoldError as error:
        if stop.asked.is_set() and not isinstance(error, Cancelled):
            raise Cancelled("cancelled") from error
        raise
