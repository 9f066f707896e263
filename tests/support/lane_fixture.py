"""The `lane` fixture: one session of the CPU lane for all tests of a worker. A missing lane fails the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scaffold_tools.verify.lane import LaneSession

JOBS = Path(__file__).parent / "lane_jobs"
"""Jobs that only tests call; they lie on the server's path beside the harness."""


@pytest.fixture(scope="session")
def lane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LaneSession]:
    with LaneSession(tmp_path_factory.mktemp("lane") / "lane.log", extra_path=[JOBS]) as session:
        yield session
