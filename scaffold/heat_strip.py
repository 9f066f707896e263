"""The picture of a divergence: layers from left to right, places within a layer from top to bottom, one HTML file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scaffold_tools.verify.locate import Divergence, Site

OUTSIDE = ("before", "after")
"""Columns of what lies outside of layers."""
AGREES = "#2f9e6e"
STEPS = ((1.0, "#e8c547"), (1e2, "#e8893a"), (1e4, "#d1495b"))
"""From this many times the limit on, this colour."""


@dataclass(frozen=True)
class Cell:
    """One value."""

    colour: str
    title: str
    first: bool


@dataclass(frozen=True)
class Row:
    """One place in a layer, over all layers."""

    name: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Step:
    """One colour of the key."""

    colour: str
    words: str


def render(divergence: Divergence) -> str:
    """The page; it loads nothing, and every text in it is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from scaffold_tools.paths import data_dir

    environment = Environment(
        loader=FileSystemLoader(data_dir("templates") / "divergence"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    columns = _columns(divergence)
    found = divergence.found
    return environment.get_template("strip.html.j2").render(
        bridge=divergence.bridge,
        toy=divergence.toy,
        count=len(divergence.sites),
        agrees=divergence.agrees,
        found=found,
        found_by="" if found is None else how_far(found),
        causes=divergence.causes,
        problems=divergence.problems,
        columns=columns,
        rows=_rows(divergence, columns),
        key=[Step(AGREES, "agrees"), *(Step(colour, f"over {limit:g}×") for limit, colour in STEPS)],
    )


def how_far(site: Site) -> str:
    """The figures of one value in words."""
    far = "not finite" if site.relative is None else f"{site.relative:.2g} of its size (rounding: {site.limit:.1g})"
    since = f", from token {site.first_position} on" if site.first_position else ""
    return f"{far}{since}"


def _columns(divergence: Divergence) -> list[str]:
    layers = sorted({site.layer for site in divergence.sites if site.layer is not None})
    return [OUTSIDE[0], *map(str, layers), OUTSIDE[1]]


def _rows(divergence: Divergence, columns: list[str]) -> list[Row]:
    """Places in the order in which they occur first."""
    cells: dict[str, dict[str, Cell]] = {}
    seen_layer = False
    for site in divergence.sites:
        seen_layer = seen_layer or site.layer is not None
        column = str(site.layer) if site.layer is not None else OUTSIDE[seen_layer]
        cell = Cell(_colour(site), f"{site.megatron} {site.what}: {how_far(site)}", site is divergence.found)
        cells.setdefault(_place(site), {})[column] = cell
    return [Row(name, tuple(row.get(column) for column in columns)) for name, row in cells.items()]


def _place(site: Site) -> str:
    """The name within a layer, and which value."""
    inner = site.megatron
    if site.layer is not None:
        inner = inner.partition(f"layers.{site.layer}")[2].lstrip(".") or "layer"
    return f"{inner} {site.what}"


def _colour(site: Site) -> str:
    if not site.differs:
        return AGREES
    over = math.inf if site.relative is None else site.relative / site.limit
    return next(colour for limit, colour in reversed(STEPS) if over >= limit or limit == STEPS[0][0])
