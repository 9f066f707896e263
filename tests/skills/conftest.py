"""The lane for all tests of skills: one session, so that torch is imported once."""

from __future__ import annotations

import pytest

from scaffold.lane import EarlyLane
from scaffold_tools.verify.lane import LaneSession
from support.lane_fixture import lane

__all__ = ["lane"]


@pytest.fixture
def shared_lane(lane: LaneSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands use the session that the tests have open, instead of starting one each."""
    monkeypatch.setattr(EarlyLane, "start", lambda self, log=None: None)
    monkeypatch.setattr(EarlyLane, "session", lambda self: lane)
