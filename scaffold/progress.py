"""What is running and how long: a live line on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

from scaffold.console import is_terminal, rich_console

if TYPE_CHECKING:
    from rich.status import Status


@dataclass
class Stage:
    """One stage while it runs; `result` is what its closing line says."""

    name: str
    progress: Progress
    started: float = field(default_factory=time.monotonic)
    result: str = ""

    def note(self, text: str) -> None:
        """Say what the stage is doing now."""
        self.progress.show(self, text)

    @property
    def seconds(self) -> float:
        """Elapsed time."""
        return time.monotonic() - self.started


class Progress:
    """The stages of one command."""

    def __init__(self, *, quiet: bool = False, stream: IO[str] | None = None) -> None:
        self.stream = stream or sys.stderr
        self.quiet = quiet
        self.seconds: dict[str, float] = {}
        self._live = not quiet and is_terminal(self.stream)
        self._status: Status | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._stop()

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Run one stage; its line is printed when it ends, with its time."""
        stage = Stage(name, self)
        self.show(stage, "")
        try:
            yield stage
        except BaseException:
            self._close(stage, "✗")
            raise
        self._close(stage, "✓")

    def show(self, stage: Stage, text: str) -> None:
        """What a stage does now: a moving line on a terminal, nothing for an empty text elsewhere."""
        if self._live:
            if self._status is None:
                self._status = rich_console(self.stream).status("", spinner="line")
                self._status.start()
            self._status.update(_escape(f"{stage.name:<10} {text}"))
        elif text:
            self.line(f"  · {stage.name:<10} {text}")

    def line(self, text: str) -> None:
        """One lasting line."""
        self._stop()
        if not self.quiet:
            print(text, file=self.stream, flush=True)

    def _close(self, stage: Stage, mark: str) -> None:
        self.seconds[stage.name] = round(stage.seconds, 2)
        self.line(f"  {mark} {stage.name:<10} {stage.seconds:6.1f} s  {stage.result}".rstrip())

    def _stop(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


def _escape(text: str) -> str:
    """Names from a config must not be read as rich markup."""
    return text.replace("[", "\\[")
