"""One change to a tree at a time. The lock is on an open file, so it lasts until the last process that has it ends:
the detached finisher inherits it from the caller, and keeps it when the caller is killed.

The file goes when nobody has the lock any more, so that folders that are long gone leave nothing behind. Whoever got
the lock of a file that was taken away meanwhile asks again for that of the new one.
"""

from __future__ import annotations

import contextlib
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
    file, deadline = _lock_file(root), time.monotonic() + timeout
    while (descriptor := _locked(file, os.O_CREAT)) is None:
        if time.monotonic() > deadline:
            raise Refused(f"another process is changing {root}", hint="wait for it to end, then run this again")
        time.sleep(0.02)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
        _remove(file)


def _locked(file: Path, flags: int = 0) -> int | None:
    """A descriptor that has the lock of this very file; None while another process has it, or the file went."""
    descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), os.stat(file)):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _remove(file: Path) -> None:
    """Take the file away, unless a process that inherited the lock, or another one, has it."""
    with contextlib.suppress(OSError):
        descriptor = _locked(file)
        if descriptor is not None:
            os.unlink(file)
            os.close(descriptor)


def _lock_file(root: Path) -> Path:
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:24] + ".lock"
    cache = Path(os.environ.get("SCAFFOLD_CACHE") or Path.home() / ".cache" / "scaffold") / "locks"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        cache = Path(tempfile.gettempdir()) / f"scaffold-locks-{os.getuid()}"
        cache.mkdir(mode=0o700, exist_ok=True)
    return cache / name
