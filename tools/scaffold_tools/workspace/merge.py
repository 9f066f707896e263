"""Three-way merge of lines, for files that were changed on both sides since their common base."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from merge3 import Merge3

OURS, THEIRS = "yours", "new"

MARKERS = re.compile(
    rb"^<<<<<<< " + OURS.encode() + rb"\r?$.*?^=======\r?$.*?^>>>>>>> " + THEIRS.encode() + rb"\r?$", re.M | re.S
)
"""What a conflict leaves in a file, whole: a line of it in prose is no conflict."""


@dataclass(frozen=True)
class Merged:
    """The merged bytes, and how many places both sides changed differently (those carry conflict markers)."""

    content: bytes
    conflicts: int


def merge3(base: bytes, ours: bytes, theirs: bytes, *, our_name: str = OURS, their_name: str = THEIRS) -> Merged:
    """Merge line by line; a change made on one side alone, or the same on both, is taken."""
    groups = Merge3(_lines(base), _lines(ours), _lines(theirs)).merge_groups()
    parts: list[bytes] = []
    conflicts = 0
    for group in groups:
        if group[0] == "conflict":
            conflicts += 1
            _, _, left, right = group
            newline = b"\r\n" if any(line.endswith(b"\r\n") for line in [*left, *right]) else b"\n"
            parts += [b"<<<<<<< " + our_name.encode() + newline, *_ended(left, newline), b"=======" + newline]
            parts += [*_ended(right, newline), b">>>>>>> " + their_name.encode() + newline]
        else:
            parts += group[1]
    return Merged(b"".join(parts), conflicts)


def _lines(content: bytes) -> list[bytes]:
    """Lines with their ends; only `\\n` ends a line, so that CRLF, form feeds and odd separators stay inside one."""
    return (
        [line for line in content.replace(b"\n", b"\n\0").split(b"\0") if line] if b"\0" not in content else [content]
    )


def _ended(lines: Sequence[bytes], newline: bytes) -> list[bytes]:
    return [*lines[:-1], lines[-1] if lines[-1].endswith(b"\n") else lines[-1] + newline] if lines else []
