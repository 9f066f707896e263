"""Runs verification jobs, each in a forked child of one process that has paid for the imports once.

Protocol, one JSON object a line: stdin takes `{"id", "job", "request", "timeout"}`; the original stdout answers
`{"event": "ready"}` once, then for each job any number of `{"id", "event": "progress", "text"}` and one of
`{"id", "event": "done", "result"}` or `{"id", "event": "failed", "reason", "message", "traceback"}`, both with
`peak_mb` where the child could still say it.
Everything that libraries print goes to stderr. End of input ends the server.

A job is a module of `jobs/`, or of another folder on the path, with `run(request) -> dict`, and optionally
`preload(request)`, which is called here, in the parent, so that what it imports is there for later jobs too.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import re
import resource
import select
import signal
import sys
import time
import traceback
from typing import Any

PR_SET_PDEATHSIG = 1
JOB_NAME = re.compile(r"[a-z][a-z0-9_]*")
TRACEBACK_LINES = 40
AFTERWARDS_SECONDS = 5.0
"""What a job that has answered may still take to end; a process that it left behind can hold its pipe open."""
PROGRESS = re.compile(rb'\{"id": \d+, "event": "progress"')


def main() -> None:
    """Serve until stdin ends."""
    answers = os.dup(1)
    os.dup2(2, 1)  # what libraries print must not reach the protocol
    requests = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        _preload()
    except Exception as error:
        _send(answers, {"event": "broken", "message": _one_line(error), "traceback": _tail()})
        raise
    _send(answers, {"event": "ready", "pid": os.getpid()})
    lines = _Lines(requests)
    while (line := lines.next()) is not None:
        _serve(json.loads(line), answers, lines)
    sys.stderr.flush()
    os._exit(0)  # a second less than torch's own way out


class _Lines:
    """Lines of a file descriptor, with a look at whether it has ended, which `for line in file` cannot offer."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.pending = b""
        self.ended = False

    def next(self) -> bytes | None:
        """The next line, or None at the end. Blocks."""
        while b"\n" not in self.pending and not self.ended:
            self.read()
        if b"\n" not in self.pending:
            return None
        line, self.pending = self.pending.split(b"\n", 1)
        return line

    def read(self) -> None:
        """Take what there is (blocks when there is nothing yet)."""
        chunk = os.read(self.descriptor, 1 << 16)
        self.ended = not chunk
        self.pending += chunk


def _preload() -> None:
    import torch
    import transformers

    torch.set_num_threads(1)  # a forked child must not inherit a pool whose threads did not survive the fork
    # The names are lazy: touching them imports what every job needs.
    _ = (transformers.AutoConfig, transformers.AutoModelForCausalLM, transformers.PreTrainedModel)


def _serve(order: dict[str, Any], answers: int, lines: _Lines) -> None:
    """One job, from request to answer."""
    job = order["id"]
    try:
        if not JOB_NAME.fullmatch(order["job"]):
            raise ValueError(f"no such job: {order['job']!r}")
        module = importlib.import_module(order["job"])
        if hasattr(module, "preload"):
            module.preload(order["request"])
    except Exception as error:
        _send(answers, _failure(job, "exception", error))
        return
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.close(answers)
        _child(order, module, writing)
    os.close(writing)
    _forward(child, reading, answers, lines, job, timeout=order["timeout"])


def _child(order: dict[str, Any], module: Any, writing: int) -> None:
    """Never returns: what the job leaves behind ends with its process."""
    code = 0
    try:
        os.setsid()  # a group of its own: a timeout ends the processes that the job started, too
        die_with_parent()
        import progress

        job = order["id"]
        progress.emit = lambda text: _send(writing, {"id": job, "event": "progress", "text": text})
        try:
            answer = {"id": job, "event": "done", "result": module.run(order["request"])}
            _send(writing, answer | {"peak_mb": _peak_mb()})
        except Exception as error:
            _send(writing, _failure(job, "exception", error) | {"peak_mb": _peak_mb()})
    except BaseException:
        traceback.print_exc()
        code = 70
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _peak_mb() -> int:
    """Largest resident memory of this process so far, the pages that it shares with the server included."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak / (2**20 if sys.platform == "darwin" else 2**10))


def die_with_parent() -> None:
    """On Linux the kernel ends this process when the server is killed; elsewhere it finishes its job unheard."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _forward(child: int, reading: int, answers: int, lines: _Lines, job: int, *, timeout: float) -> None:
    """Pass a child's lines on until it ends, its time is over, or nobody is there to listen any more."""
    deadline = time.monotonic() + timeout
    output = _Lines(reading)
    answered = timed_out = False
    while not output.ended:
        watched = [reading] if lines.ended else [reading, lines.descriptor]
        ready, _, _ = select.select(watched, [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            timed_out = True
            break
        if lines.descriptor in ready:
            lines.read()
            if lines.ended:
                break
        if reading in ready:
            output.read()
            while b"\n" in output.pending:
                line = output.next()
                if not PROGRESS.match(line or b""):
                    answered = True
                    deadline = min(deadline, time.monotonic() + AFTERWARDS_SECONDS)
                _write(answers, (line or b"") + b"\n")
    os.close(reading)
    status = _end(child, kill=timed_out or lines.ended)
    if timed_out and not answered:
        message = f"no result within {timeout:g} seconds"
        _send(answers, {"id": job, "event": "failed", "reason": "timeout", "message": message, "traceback": ""})
    elif not answered and not lines.ended:
        message = f"the process ended without a result ({_status(status)})"
        _send(answers, {"id": job, "event": "failed", "reason": "died", "message": message, "traceback": ""})


def _end(child: int, kill: bool) -> int:
    if kill:
        try:
            os.killpg(child, signal.SIGKILL)
        except ProcessLookupError:  # it ended before it had a group of its own
            os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def _status(status: int) -> str:
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"exit code {os.waitstatus_to_exitcode(status)}"


def _failure(job: int, reason: str, error: BaseException) -> dict[str, Any]:
    return {"id": job, "event": "failed", "reason": reason, "message": _one_line(error), "traceback": _tail()}


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:600]


def _tail() -> str:
    return "\n".join(traceback.format_exc().splitlines()[-TRACEBACK_LINES:])


def _send(descriptor: int, message: dict[str, Any]) -> None:
    _write(descriptor, json.dumps(message, default=_plain).encode() + b"\n")


def _plain(value: Any) -> Any:
    """Numbers of torch and numpy, tuples of dtypes and the like, as JSON can hold them."""
    return value.item() if hasattr(value, "item") else str(value)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


if __name__ == "__main__":
    main()
