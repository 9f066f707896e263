"""A classification for people: a table; for programs: one object."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from scaffold.console import emit_json, rich_console

if TYPE_CHECKING:
    from scaffold_tools.classify.model import Classification
    from scaffold_tools.source.inventory import Inventory


def show(inventory: Inventory, classification: Classification, *, json: bool) -> None:
    """Write it on stdout."""
    if json:
        emit_json({"source": inventory.source, "classification": classification, "notes": inventory.notes})
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("model", Text(inventory.source.name))
    table.add_row("kind", Text(str(classification)))
    for key in classification.unknown_keys:
        table.add_row("unrecognised", Text(f"{key.path} = {key.value}: {key.may_mean}"))
    rich_console(sys.stdout).print(table)
