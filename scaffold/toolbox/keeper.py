"""The lane between calls: its imports are paid once while calls follow each other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from scaffold.lane import EarlyLane
from scaffold_tools.errors import ScaffoldError

IDLE_SECONDS = 180.0
"""A lane is about a gigabyte; nobody has come for so long that nobody may come."""


class LaneKeeper:
    """Lends one lane to one call at a time, and ends it when none has come for a while."""

    def __init__(self, idle_seconds: float = IDLE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._kept: EarlyLane | None = None
        self._timer: threading.Timer | None = None

    @contextmanager
    def lend(self) -> Iterator[EarlyLane]:
        """The lane for one call; one that was aborted during it is not lent again."""
        lane = self._take() or EarlyLane()
        try:
            yield lane
        except ScaffoldError:
            self._keep(lane)  # a session outlives a job that failed
            raise
        except BaseException:
            lane.close()
            raise
        self._keep(lane)

    def close(self) -> None:
        """End the lane that is kept, if there is one."""
        lane = self._take()
        if lane is not None:
            lane.close()

    def _take(self) -> EarlyLane | None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            lane, self._kept = self._kept, None
            return lane

    def _keep(self, lane: EarlyLane) -> None:
        if lane.aborted or not lane.started:
            lane.close()
            return
        with self._lock:
            self._kept = lane
            self._timer = threading.Timer(self._idle_seconds, self.close)
            self._timer.daemon = True
            self._timer.start()
