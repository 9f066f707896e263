"""One change to a tree at a time. The lock is on an open file, so it lasts until the last process that has it ends:
the detached finisher inherits it from the caller, and keeps it when the caller is killed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scaffold_tools.errors import Refused


@contextmanager
def tree_lock(root: Path, *, timeout: float = 60.0) -> Iterator[int]:
    """Hold the lock of a root; yields the descriptor to hand on. It lies in the cache, so the tree stays clean.

    Raises:
        Refused: another process held it for longer than `timeout` seconds.
    """
    descriptor = os.open(_lock_file(root), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + timeout
        while not _try(descriptor):
            if time.monotonic() > deadline:
                raise Refused(f"another process is changing {root}", hint="wait for it to end, then run this again")
            time.sleep(0.02)
        yield descriptor
    finally:
        os.close(descriptor)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_file(root: Path) -> Path:
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:24] + ".lock"
    cache = Path(os.environ.get("SCAFFOLD_CACHE") or Path.home() / ".cache" / "scaffold") / "locks"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        cache = Path(tempfile.gettempdir()) / f"scaffold-locks-{os.getuid()}"
        cache.mkdir(mode=0o700, exist_ok=True)
    return cache / name
