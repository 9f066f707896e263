"""The lane of one command: one session, started early, whose absence matters only once something has to run in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from scaffold.run_folder import LANE_LOG
from scaffold_tools.errors import EnvironmentLacks
from scaffold_tools.verify.lane import LaneJobFailed, LaneSession


class EarlyLane:
    """Starts the lane's imports as soon as the input is known to be good, while other stages run.

    A missing lane is an error of the first job and not of the start: bad input has to be called bad input on a machine
    without a lane too.
    """

    def __init__(self) -> None:
        self._session: LaneSession | None = None
        self._lacks: EnvironmentLacks | None = None
        self._aborted = False

    def __enter__(self) -> Self:
        return self

    def start(self, log: Path | None = None) -> None:
        """Start the imports; does not wait for them. A second call does nothing."""
        if self._session is not None:
            return
        try:
            self._session = LaneSession(log_file=log).__enter__()
        except EnvironmentLacks as error:
            self._lacks = error

    def session(self) -> LaneSession:
        """The session, started if need be.

        Raises:
            EnvironmentLacks: there is no lane on this machine.
        """
        self.start()
        if self._aborted:
            raise LaneJobFailed("start", "aborted", "the lane was ended on purpose", "", Path(LANE_LOG))
        if self._session is None:
            assert self._lacks is not None
            raise self._lacks
        return self._session

    def call(
        self, job: str, request: dict[str, Any], *, on_progress: Callable[[str], None] | None = None
    ) -> dict[str, Any]:
        """Run one job of the harness."""
        return self.session().call(job, request, on_progress=on_progress)

    @property
    def started(self) -> bool:
        """Whether a session has been started."""
        return self._session is not None

    @property
    def aborted(self) -> bool:
        """Whether it was ended on purpose."""
        return self._aborted

    def abort(self) -> None:
        """End what runs in the lane at once and for good; the job that waits for it fails. From any thread."""
        self._aborted = True
        if self._session is not None:
            self._session.abort()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the session, if there is one. May be called twice."""
        if self._session is not None:
            self._session.close()
