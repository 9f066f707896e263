"""What git says of a checkout."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def commit_of(root: Path) -> str | None:
    """The commit that a checkout is at, where git knows one."""
    return _git(root, "rev-parse", "HEAD")


def is_changed(root: Path, below: str = ".") -> bool:
    """Whether files of a checkout below a folder differ from its commit, ones that git does not know included."""
    return bool(_git(root, "status", "--porcelain", "--", below))


def _git(root: Path, *command: str) -> str | None:
    """What git says, None where it fails or is missing. It runs no program of the checkout's, and writes no index."""
    words = ["git", "-c", "core.fsmonitor=false", "-C", str(root), *command]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(words, capture_output=True, check=False, text=True, env=environment)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
