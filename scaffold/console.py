"""stdout and stderr: results on one, everything else on the other."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from scaffold_tools.jsonio import to_jsonable

if TYPE_CHECKING:
    from rich.console import Console


def emit_json(value: Any) -> None:
    """One JSON object on stdout."""
    json.dump(to_jsonable(value), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def say(line: str) -> None:
    """A diagnostic line on stderr."""
    print(line, file=sys.stderr)


def short(path: str) -> str:
    """A path as people want to read it: relative where it lies below the current folder."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path


def is_terminal(stream: IO[str]) -> bool:
    """Whether a person looks at the stream through something that understands cursor movements."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def rich_console(stream: IO[str]) -> Console:
    """A console that is plain where nobody looks at it: no colour, no wrapping at a width that a pipe has not."""
    from rich.console import Console

    if is_terminal(stream):
        return Console(file=stream, no_color="NO_COLOR" in os.environ, highlight=False)
    return Console(file=stream, width=160, no_color=True, force_terminal=False, highlight=False)
