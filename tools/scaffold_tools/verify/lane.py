"""Talks to the lane: one server process that pays for imports once, one forked child a job."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from scaffold_tools.errors import CheckFailed, EnvironmentLacks
from scaffold_tools.paths import harness_dir
from scaffold_tools.verify.lane_env import ensure_lane

START_SECONDS = 180.0
"""Importing torch and transformers, on a busy machine with a cold disk."""
GRACE_SECONDS = 120.0
"""Beyond a job's own time: what its `preload` imports in the server."""
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "SYSTEMROOT")
"""Variables that the server sees; tokens and proxies are not among them."""


class LaneJobFailed(CheckFailed):
    """A job raised, died or ran out of time; `reason` says which, `traceback` where."""

    def __init__(self, job: str, reason: str, message: str, traceback: str, log: Path) -> None:
        self.job = job
        self.reason = reason
        self.message = message
        self.traceback = traceback
        super().__init__(f"{job}: {message}", hint=f"log: {log}")


class LaneSession:
    """A context manager around the server; starts it on entry and returns before its imports are done.

    Args:
        log_file: where library output goes; a temporary file when None.
        install: create the lane environment when it is missing.
        on_progress: told in one line what the installation does.
        extra_path: folders first on the server's PYTHONPATH.

    Raises:
        EnvironmentLacks: there is no lane environment, or torch and transformers do not import in it.
    """

    def __init__(
        self,
        log_file: Path | None = None,
        *,
        install: bool = False,
        on_progress: Callable[[str], None] | None = None,
        extra_path: Sequence[Path] = (),
    ) -> None:
        self._install = install
        self._on_progress = on_progress
        self._extra_path = tuple(extra_path)
        self._scratch = tempfile.TemporaryDirectory(prefix="scaffold-lane-")
        self.log_file = log_file or Path(self._scratch.name) / "lane.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False
        self._pending = b""
        self._jobs = 0
        self.peak_mb = 0
        """Largest resident memory of a job since this was last set, in MiB."""
        self._lock = threading.Lock()
        self._aborted = False

    def __enter__(self) -> LaneSession:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the server, if one runs."""
        return self._process.pid if self._process else None

    def call(
        self,
        job: str,
        request: dict[str, Any],
        timeout: float = 300,
        on_progress: Callable[[str], None] | None = None,
    ) -> dict[str, Any]:
        """Run one job in a child of the server and return its result. Calls from several threads queue up.

        Args:
            job: a module of the harness with `run(request)`.
            request: JSON-serialisable.
            timeout: seconds after which the job and whatever it started are killed.
            on_progress: receives the job's own lines.

        Raises:
            LaneJobFailed: the job raised, died, ran out of time, or the server died. The session stays usable.
            EnvironmentLacks: the server cannot be started.
        """
        with self._lock:
            self._jobs += 1
            try:
                self._await_ready()
                order = {"id": self._jobs, "job": job, "request": request, "timeout": timeout}
                self._send(json.dumps(order).encode() + b"\n", job)
                return self._result(job, time.monotonic() + timeout + GRACE_SECONDS, on_progress)
            except LaneJobFailed:
                raise
            except BaseException:  # Ctrl-C too: the server would answer the next call with this job's result
                self._kill()
                raise

    def close(self) -> None:
        """End the server and everything it runs; leaves no process behind. May be called twice."""
        process, self._process = self._process, None
        if process is not None:
            if not self._ready:
                process.kill()  # no job runs yet, and it would finish its imports before it looked at its input
            self._reap(process)
        self._scratch.cleanup()

    def abort(self) -> None:
        """End the server and its job at once, from any thread, and start no other; a call that waits fails."""
        self._aborted = True
        process = self._process
        if process is not None:
            process.kill()  # its children die with it; the thread that waits reaps it

    def _start(self) -> None:
        lane = ensure_lane(self._install, self._on_progress)
        harness = harness_dir()
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._scratch.name
        path = [*map(str, self._extra_path), str(harness), str(harness / "jobs"), str(harness / "standins")]
        environ = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        environ |= {
            "PYTHONPATH": os.pathsep.join(path),
            "PYTHONDONTWRITEBYTECODE": "1",  # a checkout on the path must stay as it was
            "PYTHONNOUSERSITE": "1",
            "PYTHONHASHSEED": "0",
            "OMP_NUM_THREADS": "1",
            "TORCHDYNAMO_DISABLE": "1",  # compiling what megatron-core marks takes longer than running it
            "CUDA_VISIBLE_DEVICES": "",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HOME": f"{scratch}/hf",  # no stored token, no shared cache of remote modules
        }
        try:
            with self.log_file.open("ab") as log:
                self._process = subprocess.Popen(
                    [str(lane.python), str(harness / "server.py")],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=environ,
                    cwd=scratch,
                    start_new_session=True,  # Ctrl-C reaches us alone; we end the server
                )
        except OSError as error:
            raise EnvironmentLacks(f"cannot start {lane.python}: {error.strerror}") from error
        if self._aborted:  # while the process was being started
            self._process.kill()
        self._ready = False
        self._pending = b""

    def _await_ready(self) -> None:
        if self._aborted:
            raise LaneJobFailed("start", "aborted", "the lane was ended on purpose", "", self.log_file)
        if self._process is None or self._process.poll() is not None:
            self._kill()
            self._start()
        if self._ready:
            return
        message = self._receive("start", time.monotonic() + START_SECONDS)
        if message.get("event") != "ready":
            self._kill()
            raise EnvironmentLacks(
                f"the lane's Python cannot import what it needs: {message.get('message')}",
                hint=f"log: {self.log_file}",
            )
        self._ready = True

    def _result(self, job: str, deadline: float, on_progress: Callable[[str], None] | None) -> dict[str, Any]:
        while True:
            message = self._receive(job, deadline)
            event = message["event"]
            self.peak_mb = max(self.peak_mb, message.get("peak_mb", 0))
            if event == "progress":
                if on_progress is not None:
                    on_progress(message["text"])
            elif event == "done":
                result: dict[str, Any] = message["result"]
                return result
            else:
                raise LaneJobFailed(job, message["reason"], message["message"], message["traceback"], self.log_file)

    def _send(self, data: bytes, job: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except OSError:
            raise self._died(job) from None

    def _receive(self, job: str, deadline: float) -> dict[str, Any]:
        """The next message of the server."""
        assert self._process is not None
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._pending:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                self._kill()
                raise LaneJobFailed(job, "timeout", "the lane's server does not answer", "", self.log_file)
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                raise self._died(job)
            self._pending += chunk
        line, self._pending = self._pending.split(b"\n", 1)
        message: dict[str, Any] = json.loads(line)
        return message

    def _died(self, job: str) -> LaneJobFailed:
        code = self._process.wait(10) if self._process else None
        self._kill()
        return LaneJobFailed(job, "server-died", f"the lane's server died (exit code {code})", "", self.log_file)

    def _kill(self) -> None:
        process, self._process = self._process, None
        self._ready = False
        if process is not None:
            process.kill()  # its children die with it
            self._reap(process)

    def _reap(self, process: subprocess.Popen[bytes]) -> None:
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
