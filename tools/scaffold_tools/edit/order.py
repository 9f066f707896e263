"""Where a new item belongs in a list that people keep more or less sorted."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

Key = tuple[Any, ...]


def natural(text: str) -> Key:
    """Sort key of isort's and ruff's natural order: digits count as numbers, case does not (`Qwen3` < `Qwen25`)."""
    parts = re.findall(r"\d+|\D", text.casefold())
    return tuple((48, int(part)) if part[0].isdigit() and part.isascii() else (ord(part[0]), 0) for part in parts)


def member(name: str) -> Key:
    """Order of names in one import, as ruff's `order-by-type`: CONSTANTS, then Classes, then the rest."""
    letters = [char for char in name if char.isalpha()]
    if len(name) > 1 and letters and all(char.isupper() for char in letters):
        kind = 0
    elif name[:1].isupper():
        kind = 1
    else:
        kind = 2
    return (kind, natural(name), name)


def is_sorted(keys: Sequence[Key]) -> bool:
    """Whether every key is at least the one before it."""
    return all(one <= other for one, other in itertools.pairwise(keys))


def best_position(keys: Sequence[Key], new: Key) -> tuple[int, int]:
    """The index that leaves the fewest items on the wrong side of `new` (the last of equals), and how many those are.

    One item out of order elsewhere does not mislead it, as a scan for the first greater item would be.
    """
    wrong = sum(key < new for key in keys)
    best, fewest = 0, wrong
    for index, key in enumerate(keys, start=1):
        wrong += -1 if key < new else 1 if key > new else 0
        if wrong <= fewest:
            best, fewest = index, wrong
    return best, fewest


def place(keys: Sequence[Key], new: Key) -> int:
    """The sorted place in a list that is mostly sorted; the end of one that is not."""
    inversions = sum(one > other for one, other in itertools.pairwise(keys))
    return best_position(keys, new)[0] if inversions * 3 <= len(keys) else len(keys)
