"""A classification for people: a table; for programs: one object."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from scaffold.console import emit_json, rich_console

if TYPE_CHECKING:
    from scaffold_tools.classify.model import Classification
    from scaffold_tools.classify.quantisation import Quantisation
    from scaffold_tools.source.inventory import Inventory

_MOST = 40
"""Rows of one sort in the table; `--json` has them all."""


def show(inventory: Inventory, classification: Classification, *, json: bool) -> None:
    """Write it on stdout. Everything here is a stranger's text: it is printed as it is, never as markup."""
    if json:
        emit_json({"source": inventory.source, "classification": classification})
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    last = ""
    for label, text in _rows(inventory, classification):
        table.add_row("" if label == last else label, Text(text))
        last = label
    rich_console(sys.stdout).print(table)


def _rows(inventory: Inventory, found: Classification) -> Iterator[tuple[str, str]]:
    from scaffold_tools.classify.model import describe

    revision = f" at {inventory.source.revision}" if inventory.source.revision else ""
    yield "model", f"{inventory.source.name}{revision}"
    yield "kind", describe(found)
    if found.sizes:
        yield "sizes", ", ".join(f"{size.name} {size.value}" for size in found.sizes)
    for claim in found.claims:
        subject = claim.name if isinstance(claim.value, bool) else f"{claim.name} {claim.value}"
        if claim.value is not False and claim.value is not None:
            yield "because", f"{subject}: {'; '.join(item.detail for item in claim.evidence)}"
    if found.quantisation:
        yield from (("quantised", line) for line in _quantised(found.quantisation))
    yield from (("layers", f"{pattern.key}: {pattern.summary}") for pattern in found.layer_patterns)
    yield from _limited("disagreement", [f"{item.subject}: {item.detail}" for item in found.disagreements])
    yield from _limited("unrecognised", [f"{key.path} = {key.value}: {key.may_mean}" for key in found.unrecognised])
    yield "keys", f"{len(found.keys)} recognised, {len(found.unrecognised)} not"
    yield from (("note", note) for note in found.notes)


def _quantised(found: Quantisation) -> Iterator[str]:
    block = "x".join(map(str, found.block_shape)) if found.block_shape else None
    settings = (
        ("format", found.format),
        ("bits", found.bits),
        ("block", block),
        ("scales", ", ".join(found.scale_tensors)),
        ("also", ", ".join(found.other_formats)),
        ("activations", found.activations),
        ("KV cache", found.kv_cache),
    )
    yield ", ".join(f"{name} {value}" for name, value in settings if value)
    if found.left_alone:
        names = ", ".join(found.left_alone[:6])
        more = len(found.left_alone) - 6
        yield f"left alone: {names}" + (f" and {more} more" if more > 0 else "")
    yield from (item.detail for item in found.evidence)


def _limited(label: str, lines: list[str]) -> Iterator[tuple[str, str]]:
    yield from ((label, line) for line in lines[:_MOST])
    if len(lines) > _MOST:
        yield label, f"and {len(lines) - _MOST} more (--json has them)"
