"""In which layers something is, as a word that is right for every number of layers."""

from __future__ import annotations

from collections.abc import Callable

PATTERNS: tuple[tuple[str, Callable[[int, int], bool]], ...] = (
    ("first", lambda layer, count: layer == 0),
    ("last", lambda layer, count: layer == count - 1),
    ("but_first", lambda layer, count: layer > 0),
    ("but_last", lambda layer, count: layer < count - 1),
)
"""(word, whether a layer is one of them). Two toys with different numbers of layers tell these from a fixed number."""


def placed(flags: list[bool]) -> str | None:
    """The word for the layers whose flag is set; None where no word says it, or all or no layers have it."""
    count = len(flags)
    if count < 3 or len(set(flags)) == 1:
        return None
    return next(
        (word for word, holds in PATTERNS if flags == [holds(layer, count) for layer in range(count)]),
        None,
    )
