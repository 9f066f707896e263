"""One measured check, as the tools outside read it (`Check` of `verify/evidence.py` has the same fields)."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

DETAIL = 1500
"""Characters of a detail; lists of names end with how many were left out long before."""


@dataclass
class Checks:
    """Collects the checks of one toy."""

    toy: str
    done: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        name: str,
        passed: bool,
        *,
        value: Any = None,
        threshold: Any = None,
        detail: str = "",
        seconds: float = 0.0,
    ) -> bool:
        """Record a check that ran."""
        status = "passed" if passed else "failed"
        self.done.append(
            asdict(Measured(name, status, value, threshold, detail[:DETAIL], round(seconds, 3), self.toy))
        )
        return passed

    def skip(self, names: tuple[str, ...], why: str) -> None:
        """Record checks that could not run. They count as neither passed nor failed; what stopped them has failed."""
        self.done += [asdict(Measured(name, "skipped", detail=why, toy=self.toy)) for name in names]

    def error(self, name: str, detail: str) -> None:
        """Record a check that broke."""
        self.done.append(asdict(Measured(name, "error", detail=" ".join(detail.split())[:DETAIL], toy=self.toy)))

    @contextmanager
    def guard(self, name: str) -> Iterator[None]:
        """An exception inside becomes a check with status `error`, and `Broken` tells that the toy cannot go on."""
        try:
            yield
        except Exception as error:
            noted = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
            self.error(name, f"{type(error).__name__}: {error}{noted} [{_where(error)}]")
            raise Broken(name) from error


class Broken(Exception):
    """A step raised; the rest of this toy is skipped."""


@dataclass
class Measured:
    name: str
    status: str
    value: Any = None
    threshold: Any = None
    detail: str = ""
    seconds: float | None = None
    toy: str = ""


class Clock:
    """Seconds since the last look."""

    def __init__(self) -> None:
        self.last = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap."""
        now = time.perf_counter()
        elapsed, self.last = now - self.last, now
        return elapsed


def names(found: Any, limit: int = 6) -> str:
    """A short list of names."""
    listed = sorted(found)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(str(name) for name in listed[:limit]) + more


def _where(error: BaseException) -> str:
    """The last three frames as file:line, the innermost first."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return " < ".join(
        f"{frame.filename.rsplit('/site-packages/', 1)[-1]}:{frame.lineno}" for frame in reversed(frames)
    )
