"""The lane survives what jobs do to it, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import time

import pytest

from scaffold_tools.verify.lane import LaneJobFailed, LaneSession

pytestmark = pytest.mark.lane


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def gone_soon(pid: int) -> bool:
    deadline = time.monotonic() + 30
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def test_each_job_has_a_process_of_its_own(lane: LaneSession) -> None:
    first, second = lane.call("echo", {"value": [1, "x"]}), lane.call("echo", {})
    assert first["value"] == [1, "x"]
    assert first["pid"] != second["pid"] != lane.pid


def test_an_exception_comes_back_with_its_traceback(lane: LaneSession) -> None:
    with pytest.raises(LaneJobFailed, match="ValueError: asked to") as failed:
        lane.call("echo", {"action": "raise"})
    assert failed.value.reason == "exception"
    assert "echo.py" in failed.value.traceback
    assert failed.value.exit_code == 1


def test_a_killed_job_harms_neither_the_server_nor_the_next_job(lane: LaneSession) -> None:
    server = lane.pid
    with pytest.raises(LaneJobFailed, match="SIGKILL"):
        lane.call("echo", {"action": "die"})
    assert lane.call("echo", {"value": 1})["value"] == 1
    assert lane.pid == server


def test_a_timeout_ends_the_job_and_what_it_started(lane: LaneSession) -> None:
    lines: list[str] = []
    with pytest.raises(LaneJobFailed, match="no result within 4 seconds"):
        lane.call("echo", {"action": "sleep"}, timeout=4, on_progress=lines.append)
    assert lines[0] == "echo"
    assert all(gone_soon(int(pid)) for pid in lines[1].split())


def test_what_a_library_prints_cannot_break_the_protocol(lane: LaneSession) -> None:
    assert lane.call("echo", {"action": "print", "value": 2})["value"] == 2
    assert "a line that a library printed" in lane.log_file.read_text()


@pytest.mark.parametrize("job", ["no_such_job", "../escape", "os.path", ""])
def test_an_unknown_job_is_an_error_and_no_import_of_anything_else(lane: LaneSession, job: str) -> None:
    with pytest.raises(LaneJobFailed):
        lane.call(job, {})


def test_jobs_see_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", "hf_secret")
    with LaneSession() as session:
        seen = session.call("echo", {})["environ"]
    assert "HF_HUB_OFFLINE" in seen
    assert not [name for name in seen if "TOKEN" in name and name != "TOKENIZERS_PARALLELISM"]


def test_a_dead_server_is_noticed_and_replaced() -> None:
    with LaneSession() as session:
        session.call("echo", {})
        assert session.pid is not None
        os.kill(session.pid, signal.SIGKILL)
        with pytest.raises(LaneJobFailed) as failed:
            session.call("echo", {})
            session.call("echo", {})  # the first call may have found it dead before it wrote, and restarted it
            raise LaneJobFailed("echo", "server-died", "restarted in silence", "", session.log_file)
        assert failed.value.reason == "server-died"
        assert session.call("echo", {"value": 3})["value"] == 3


def test_closing_leaves_no_process() -> None:
    session = LaneSession().__enter__()
    session.call("echo", {})
    server = session.pid
    session.close()
    session.close()
    assert server is not None
    assert gone_soon(server)
    assert not session.log_file.exists()


def test_closing_at_once_does_not_wait_for_imports() -> None:
    started = time.monotonic()
    with LaneSession() as session:
        server = session.pid
    assert time.monotonic() - started < 3
    assert server is not None
    assert gone_soon(server)
