"""Every error a user can meet, each with its exit code and the next step.

An error is part of the interface: `str(error)` is one line that says what is wrong, where, and what to do.
The command line prints that line on stderr and exits with `exit_code`; nothing else in the tools prints.
"""

from __future__ import annotations


class ScaffoldError(Exception):
    """Base class. `what` names the thing that is wrong, `hint` the next step for the user."""

    exit_code = 1

    def __init__(self, what: str, *, hint: str | None = None) -> None:
        self.what = _one_line(what)
        self.hint = _one_line(hint) if hint else None
        super().__init__(self.what if self.hint is None else f"{self.what} ({self.hint})")


class CheckFailed(ScaffoldError):
    """A verification check ran and its result was wrong."""

    exit_code = 1


class BadInput(ScaffoldError):
    """What the user gave cannot be used: no such repository, not JSON, an encoder-decoder, a wrong flag."""

    exit_code = 2


class GapsRemain(ScaffoldError):
    """What is certain was generated, but something that the target cannot express is left open and reported."""

    exit_code = 3


class Refused(ScaffoldError):
    """Refused for safety: a dirty tree, code that would have to be trusted, a path that leaves its folder."""

    exit_code = 4


class EnvironmentLacks(ScaffoldError):
    """This machine lacks something; `hint` is the one command that adds it."""

    exit_code = 5


def _one_line(text: str) -> str:
    """Fold hostile or multi-line text into one printable line (config strings and server messages end up here)."""
    folded = " ".join(text.split())
    printable = "".join(ch if ch.isprintable() else "\N{REPLACEMENT CHARACTER}" for ch in folded)
    return printable if len(printable) <= 600 else printable[:597] + "..."
