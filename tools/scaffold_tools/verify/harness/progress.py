"""Lines of progress from a job to whoever waits for it. The server sets `emit` in each job's process."""

from __future__ import annotations

from collections.abc import Callable


def _nobody(text: str) -> None:
    """Nobody listens outside the server."""


emit: Callable[[str], None] = _nobody


def say(text: str) -> None:
    """Report one line, such as `toy a: import`."""
    emit(text)
