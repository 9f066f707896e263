"""One target's rows beside those of Megatron-Bridge, both read from their files: what is proven there and not here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scaffold.matrix.values import BASE, PROVEN, Row
from scaffold_tools.jsonio import loads

GROUPS = (
    ("proven", "on megatron-core's own modules"),
    ("proven-with-block", "with custom blocks"),
    ("gap", "a gap"),
)
"""Outcomes of a decoder for Megatron-Bridge, in the order of the table."""


def read_rows(path: Path) -> tuple[Row, ...]:
    """The rows of a coverage file.

    Raises:
        BadInput: it does not hold rows.
        OSError: it cannot be read.
    """
    return loads(tuple[Row, ...], path.read_text(encoding="utf-8"), where=path.name)


def told_beside(rows: Sequence[Row], theirs: Sequence[Row]) -> str:
    """Markdown: a line, a table of counts by what Megatron-Bridge has, and the types that fall behind.

    Args:
        rows: of the target that the page is about.
        theirs: of Megatron-Bridge.
    """
    here = {row.model_type: row for row in rows if row.variant == BASE}
    there = {row.model_type: row for row in theirs if row.variant == BASE}
    proven = sum(row.outcome in PROVEN for row in here.values())
    parts = [
        f"{proven} types are proven here. By what Megatron-Bridge has of them ([coverage.json](coverage.json)):",
        "",
        "| For Megatron-Bridge | Types | Proven here | Not proven here |",
        "| --- | ---: | ---: | --- |",
        *(
            _group(said, [name for name, row in there.items() if row.outcome == outcome], here)
            for outcome, said in GROUPS
        ),
    ]
    new = sorted(set(here) - set(there))
    if new:
        parts += ["", f"Megatron-Bridge was not measured for {_names(new)}."]
    return "\n".join(parts)


def _group(said: str, names: Sequence[str], here: dict[str, Row]) -> str:
    proven = [name for name in names if name in here and here[name].outcome in PROVEN]
    behind = [name for name in names if name not in proven]
    return f"| {said} | {len(names)} | {len(proven)} | {_names(behind)} |"


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"`{name.replace('`', "'").replace('|', '/')}`" for name in names)
