"""The lane of these tests also sees the jobs beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scaffold_tools.verify.lane import LaneSession


@pytest.fixture(scope="package")
def lane() -> Iterator[LaneSession]:
    with LaneSession(extra_path=[Path(__file__).parent / "lane_jobs"]) as session:
        yield session
