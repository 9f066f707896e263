"""Reading values of an untrusted config: numbers that are numbers, and text that fits on a line."""

from __future__ import annotations

from typing import Any


def as_int(value: Any) -> int | None:
    """A whole number (JSON true and false are not numbers), or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def as_dict(value: Any) -> dict[str, Any] | None:
    """A non-empty JSON object, or None."""
    return value if isinstance(value, dict) and value else None


def clean(text: str, limit: int = 120) -> str:
    """One printable line of at most `limit` characters: config strings are written by strangers."""
    head = " ".join(text[: 4 * limit].split())
    line = "".join(ch if ch.isprintable() else "\N{REPLACEMENT CHARACTER}" for ch in head)
    return line if len(line) <= limit else line[: limit - 3] + "..."


def short(value: Any, limit: int = 80) -> str:
    """A value as one short line; containers that hold containers are told by their size only."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int):
        return str(value) if value.bit_length() < 256 else f"a whole number of {value.bit_length()} bits"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        return clean(f'"{value[: 2 * limit]}"', limit)
    if isinstance(value, list):
        flat = all(not isinstance(item, (list, dict)) for item in value[:16])
        if flat and len(value) <= 8:
            return clean("[" + ", ".join(short(item, 24) for item in value) + "]", limit)
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"an object of {len(value)} keys"
    return clean(str(type(value).__name__), limit)


def index_ranges(indices: set[int] | frozenset[int]) -> str:
    """`0-2, 5, 7-9` for a set of layer indices (at most eight ranges are spelled out)."""
    ordered = sorted(indices)
    ranges: list[tuple[int, int]] = []
    for index in ordered:
        if ranges and index == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], index)
        else:
            ranges.append((index, index))
    told = ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges[:8])
    return told if len(ranges) <= 8 else f"{told}, ... ({len(ordered)} in all)"
