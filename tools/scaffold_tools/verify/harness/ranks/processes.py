"""Forked processes that work on one thing together: one that fails or hangs ends all of them, and in one line."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from server import die_with_parent

Say = Callable[[str], None]
"""Tells the parent what the process does next."""
Work = Callable[[int, Say], dict[str, Any]]
"""Given the rank; what it returns has to be JSON."""
SAYS_NO = re.compile(r"unsupported|only supported|not (be |yet )?support", re.IGNORECASE)
"""How libraries say it that know no other class for it."""
BUILT_BY = " when instantiating "
"""What megatron-core adds to an error for each module around the one that raised it."""
GRACE_SECONDS = 2.0
"""What is left to the others once one has failed: their complaint may be the cause, and they would wait for ever."""


@dataclass
class RankFailed(Exception):
    """A process raised, died, or did not come to an end."""

    reason: str
    """`refused` (see `refuses`), `exception`, `died` or `timeout`."""
    message: str
    stages: tuple[str, ...] = ()
    """What each process did last."""

    def __str__(self) -> str:
        return self.message


@dataclass
class _Rank:
    """One child, as the parent knows it."""

    number: int
    pid: int
    pipe: int
    stage: str = "start"
    pending: bytes = b""
    result: dict[str, Any] | None = None
    failure: dict[str, str] | None = None
    ended: bool = False
    status: int = 0

    def take(self, data: bytes) -> None:
        """Lines that the child wrote."""
        self.pending += data
        while b"\n" in self.pending:
            line, self.pending = self.pending.split(b"\n", 1)
            message = json.loads(line)
            self.stage = message.get("stage", self.stage)
            self.result = message.get("result", self.result)
            self.failure = message.get("failure", self.failure)

    @property
    def broken(self) -> bool:
        return self.ended and self.result is None


def run_ranks(count: int, work: Work, timeout: float) -> list[dict[str, Any]]:
    """Run `work(rank, say)` in `count` forked processes and return what each returned.

    Nothing of them is left when this returns or raises; they also end when this process does.

    Raises:
        RankFailed: with what went wrong first; a rank that waits for one that is gone is not what went wrong.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    ranks: list[_Rank] = []
    try:
        for number in range(count):
            ranks.append(_fork(number, work))
        _listen(ranks, time.monotonic() + timeout)
    finally:
        for rank in ranks:
            _end(rank)
    _judge(ranks, timeout)
    return [rank.result or {} for rank in ranks]


def _fork(number: int, work: Work) -> _Rank:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return _Rank(number, pid, reading)
    code = 1
    try:
        os.close(reading)
        die_with_parent()
        code = _child(number, work, writing)
    finally:
        for left in multiprocessing.active_children():  # whatever a library started
            left.kill()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # gloo's threads may outlive the work


def _child(number: int, work: Work, writing: int) -> int:
    stages = ["start"]

    def tell(**message: Any) -> None:
        os.write(writing, json.dumps(message, default=str).encode() + b"\n")

    def say(stage: str) -> None:
        stages.append(stage)
        tell(stage=stage)

    try:
        tell(result=work(number, say))
    except BaseException as error:
        traceback.print_exc()
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        where = " < ".join(f"{one.filename.rsplit('/site-packages/', 1)[-1]}:{one.lineno}" for one in reversed(frames))
        text = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        reason = "refused" if refuses(error, stages[-1]) else "exception"
        tell(
            failure={
                "reason": reason,
                "message": f"{text} [{where}]",
                "own": " ".join(str(error).split(BUILT_BY)[0].split())[:300],
            }
        )
        return 1
    return 0


def refuses(error: BaseException, stage: str) -> bool:
    """Whether code says on purpose that it does not do this: by its class, or while it is built in so many words."""
    if isinstance(error, NotImplementedError):
        return True
    says = isinstance(error, AssertionError | ValueError) and SAYS_NO.search(str(error)) is not None
    return says and stage.endswith(".build")


def _listen(ranks: list[_Rank], deadline: float) -> None:
    """Until all have ended, one has failed and the others had their grace, or the time is over."""
    while any(not rank.ended for rank in ranks):
        waiting = {rank.pipe: rank for rank in ranks if not rank.ended}
        ready, _, _ = select.select(list(waiting), [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return
        for pipe in ready:
            data = os.read(pipe, 1 << 16)
            rank = waiting[pipe]
            rank.take(data)
            if not data or rank.result is not None:
                rank.ended = True
            if rank.broken:
                deadline = min(deadline, time.monotonic() + GRACE_SECONDS)


def _end(rank: _Rank) -> None:
    """Leaves nothing of a process; one that is through, or gone, is not touched by the signal."""
    os.kill(rank.pid, signal.SIGKILL)
    os.close(rank.pipe)
    _, rank.status = os.waitpid(rank.pid, 0)


@dataclass
class _Complaint:
    """What one rank has to say, and how likely it is the cause."""

    order: int
    reason: str
    message: str
    rank: _Rank = field(repr=False)


LOST = ("Connection closed", "Connection reset", "Broken pipe", "Timed out waiting", "Application timeout")
"""What gloo says to ranks whose partner is gone."""


def _judge(ranks: list[_Rank], timeout: float) -> None:
    """Raise the likeliest cause, if not all ranks have a result: an own error before a lost partner before silence."""
    stages = tuple(rank.stage for rank in ranks)
    found: list[_Complaint] = []
    for rank in ranks:
        if rank.result is not None:
            continue
        if rank.failure is not None:
            lost = any(words in rank.failure["message"] for words in LOST)
            own = rank.failure["own"] if rank.failure["reason"] == "refused" else rank.failure["message"]
            found.append(_Complaint(2 if lost else 0, rank.failure["reason"], own, rank))
        elif rank.ended:
            ending = signal.Signals(rank.status).name if os.WIFSIGNALED(rank.status) else f"exit {rank.status >> 8}"
            found.append(_Complaint(1, "died", f"died ({ending})", rank))
    if found:
        worst = min(found, key=lambda complaint: complaint.order)
        where = f"rank {worst.rank.number} of {len(ranks)}, {worst.rank.stage}: "
        raise RankFailed(worst.reason, ("" if worst.reason == "refused" else where) + worst.message, stages)
    if any(rank.result is None for rank in ranks):
        doing = ", ".join(f"rank {rank.number} in {'end' if rank.result else rank.stage}" for rank in ranks)
        raise RankFailed("timeout", f"no end within {timeout:g} seconds: {doing}", stages)
