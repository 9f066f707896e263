"""The server as a process: nothing but the protocol on stdout, a whole job over it, and ends that leave nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from scaffold import cli

pytestmark = [pytest.mark.xdist_group("mcp-stdio")]

CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "head_dim": 16,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
    "vocab_size": 256,
}
INITIALIZE = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "0"},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


class Raw:
    """The server's process, spoken to line by line."""

    def __init__(self, root: Path, *args: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "scaffold.cli", "mcp", "--root", str(root), *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.send(id=1, method="initialize", params=INITIALIZE)
        assert self.receive()["id"] == 1
        self.send(method="notifications/initialized")

    def send(self, **message: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.process.stdin.flush()

    def call(self, number: int, name: str, **arguments: Any) -> None:
        params = {"name": name, "arguments": arguments, "_meta": {"progressToken": number}}
        self.send(id=number, method="tools/call", params=params)

    def receive(self) -> dict[str, Any]:
        """The next line, which has to be the protocol's."""
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        assert found["jsonrpc"] == "2.0"
        return found

    def until(self, words: str) -> dict[str, Any]:
        """Messages up to the progress that says these words."""
        while words not in (found := self.receive()).get("params", {}).get("message", ""):
            assert "result" not in found, found
        return found

    def lanes(self) -> list[int]:
        """Processes of the lane that this server started."""
        return [pid for pid in _children(self.process.pid) if "harness" in _command(pid)]


@pytest.fixture
def raw(root: Path) -> Iterator[Raw]:
    server = Raw(root)
    yield server
    server.process.kill()
    server.process.wait()
    for stream in (server.process.stdin, server.process.stdout, server.process.stderr):
        assert stream is not None
        with contextlib.suppress(OSError):
            stream.close()


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]) == parent:
                found.append(int(entry.name))
    return found


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
    return ""


def gone_soon(pids: list[int]) -> bool:
    deadline = time.monotonic() + 30
    while any("harness" in _command(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any("harness" in _command(pid) for pid in pids)


def test_stray_output_does_not_reach_the_protocol(root: Path) -> None:
    """A `print` in our code, a library's write to descriptor 1, and a child's: all on stderr."""
    code = (
        "import os, sys, subprocess; from scaffold.toolbox import calls; real = calls.inspect\n"
        "import functools\n"
        "@functools.wraps(real)\n"
        "def noisy(work, link):\n"
        "    print('NOISE'); os.write(1, b'NOISE\\n'); subprocess.run(['echo', 'NOISE'])\n"
        "    return real(work, link)\n"
        "calls.inspect = noisy\n"
        "from scaffold import cli; cli.main(['mcp', '--root', sys.argv[1]])\n"
    )
    lines = [
        {"id": 1, "method": "initialize", "params": INITIALIZE},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": {"name": "inspect", "arguments": {"link": "tiny"}}},
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(root)],
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("this is not JSON\n")
    for line in lines:
        process.stdin.write(json.dumps({"jsonrpc": "2.0", **line}) + "\n")
    process.stdin.flush()
    answers: dict[Any, Any] = {}
    while 2 not in answers:
        message = json.loads(process.stdout.readline())
        answers[message.get("id")] = message
    out, err = process.communicate(timeout=60)  # closes stdin: the client goes
    assert out == ""
    assert err.count("NOISE") == 3
    assert answers[2]["result"]["structuredContent"]["model"] == "tiny"
    assert process.returncode == 0


def test_a_folder_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    assert cli.run(["mcp", "--root", str(tmp_path / "none")]) == 2


def test_without_the_sdk_the_line_says_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    monkeypatch.setitem(sys.modules, "mcp.server", None)
    monkeypatch.delitem(sys.modules, "scaffold.mcp.server", raising=False)
    assert cli.run(["mcp", "--root", str(tmp_path)]) == 5
    assert "scaffold-models[mcp]" in capsys.readouterr().err


@pytest.mark.lane
def test_a_model_is_planned_written_and_proven_over_stdio(root: Path) -> None:
    lines: list[str] = []

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        lines.append(message or "")

    async def main() -> tuple[Any, Any, Any]:
        command = StdioServerParameters(
            command=sys.executable,
            args=["-m", "scaffold.cli", "mcp", "--root", str(root)],
            env=dict(os.environ),
        )
        async with Client(stdio_client(command)) as client:
            planned = await client.call_tool("plan", {"link": "tiny", "regenerate": True}, progress_callback=heard)
            applied = await client.call_tool("apply", {"run": "tiny"})
            proven = await client.call_tool("verify", {}, progress_callback=heard)
        return planned.structured_content, applied.structured_content, proven.structured_content

    planned, applied, proven = anyio.run(main)
    assert planned["exit_code"] == 0
    assert planned["generated"] is True
    assert {file["status"] for file in applied["files"]} == {"create"}
    assert proven["proven"] is True
    assert proven["exit_code"] == 0
    assert proven["passed"] == proven["total"]
    assert any("blueprint" in line for line in lines)
    assert "canary-b: logits" in " ".join(lines)
    assert Path(proven["evidence"]).is_relative_to(root)


@pytest.mark.lane
def test_a_cancelled_call_stops_what_runs_in_the_lane_and_the_next_call_works(raw: Raw) -> None:
    raw.call(2, "plan", link="tiny", regenerate=True)
    raw.until("source")
    while not (lanes := raw.lanes()):
        time.sleep(0.02)
    raw.send(method="notifications/cancelled", params={"requestId": 2, "reason": "enough"})
    assert gone_soon(lanes)
    raw.call(3, "inspect", link="tiny")
    while (found := raw.receive()).get("id") != 3:
        pass
    assert found["result"]["structuredContent"]["model"] == "tiny"
    assert raw.lanes() == []


@pytest.mark.lane
@pytest.mark.parametrize("end", [signal.SIGTERM, None], ids=["SIGTERM", "client goes"])
def test_however_it_ends_the_lane_ends_too(raw: Raw, end: signal.Signals | None) -> None:
    raw.call(2, "plan", link="tiny", regenerate=True)
    raw.until("source")
    while not (lanes := raw.lanes()):
        time.sleep(0.02)
    if end is None:
        assert raw.process.stdin is not None
        raw.process.stdin.close()
    else:
        raw.process.send_signal(end)
    raw.process.wait(60)
    assert gone_soon(lanes)
