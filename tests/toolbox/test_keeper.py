"""A lane stays for the next call, and ends when none comes, when it was aborted, and when the server does."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from scaffold.lane import EarlyLane
from scaffold.toolbox.border import Border
from scaffold.toolbox.keeper import LaneKeeper
from scaffold.toolbox.work import Cancelled, Stop, work_in
from scaffold_tools.errors import BadInput
from verify.test_lane_session import alive, gone_soon


def started(lane: EarlyLane) -> int:
    """The server's process, whose imports nobody waits for."""
    lane.start()
    pid = lane.session().pid
    assert pid is not None
    return pid


@pytest.mark.lane
def test_calls_that_follow_each_other_share_a_lane_also_after_an_error() -> None:
    keeper = LaneKeeper()
    with keeper.lend() as lane:
        first = started(lane)
    with pytest.raises(BadInput), keeper.lend() as lane:
        raise BadInput("no such run")
    with keeper.lend() as lane:
        assert started(lane) == first
    keeper.close()
    assert gone_soon(first)


@pytest.mark.lane
def test_a_lane_that_nobody_asks_for_ends() -> None:
    keeper = LaneKeeper(idle_seconds=0.1)
    with keeper.lend() as lane:
        pid = started(lane)
        time.sleep(0.3)
        assert alive(pid)  # lent: its time does not count
    assert gone_soon(pid)


@pytest.mark.lane
def test_a_call_that_is_stopped_takes_its_lane_with_it(tmp_path: Path) -> None:
    keeper, stop = LaneKeeper(), Stop()
    pids: list[int] = []

    def work() -> None:
        with pytest.raises(Cancelled), work_in(Border(tmp_path), lambda line: None, stop, keeper) as under_way:
            pids.append(started(under_way.lane))
            under_way.lane.call("echo", {})  # waits for the imports

    thread = threading.Thread(target=work)
    thread.start()
    while not pids:
        time.sleep(0.01)
    stop.now()
    thread.join(60)
    assert not thread.is_alive()
    assert gone_soon(pids[0])
    with keeper.lend() as lane:
        assert not lane.aborted


def test_what_was_stopped_before_it_began_does_not_begin(tmp_path: Path) -> None:
    stop = Stop()
    stop.now()
    with pytest.raises(Cancelled), work_in(Border(tmp_path), lambda line: None, stop, LaneKeeper()):
        pytest.fail("it began")


def test_a_stop_after_the_end_harms_the_next_call_nothing(tmp_path: Path) -> None:
    keeper, stop = LaneKeeper(), Stop()
    with work_in(Border(tmp_path), lambda line: None, stop, keeper) as under_way:
        lane = under_way.lane
    stop.now()
    assert not lane.aborted
