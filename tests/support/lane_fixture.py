"""The `lane` fixture: one session of the CPU lane for all tests of a worker. A missing lane fails the test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scaffold_tools.verify.lane import LaneSession


@pytest.fixture(scope="session")
def lane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LaneSession]:
    with LaneSession(tmp_path_factory.mktemp("lane") / "lane.log") as session:
        yield session
