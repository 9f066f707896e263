"""A classification as people read it: what is claimed, why, and what nobody recognises.

Every text of a model (values, names, file names) is put into cells as plain text, never as markup.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from scaffold.console import rich_console

if TYPE_CHECKING:
    from scaffold_tools.classify.evidence import Evidence
    from scaffold_tools.classify.model import Classification
    from scaffold_tools.classify.quantisation import Quantisation
    from scaffold_tools.source.inventory import Source


def show(source: Source, found: Classification) -> None:
    """Print a classification on stdout."""
    console = rich_console(sys.stdout)
    console.print(Text(_heading(source), style="bold"))
    table = Table("what", "is", "because", show_edge=False, pad_edge=False)
    for name, value, why in _rows(found):
        table.add_row(Text(name), Text(value), Text(why))
    console.print(table)
    if found.unrecognised:
        console.print(Text(f"\n{len(found.unrecognised)} keys that nobody recognises", style="bold"))
        unknown = Table("key", "value", "may mean", show_edge=False, pad_edge=False)
        for key in found.unrecognised:
            unknown.add_row(Text(key.path), Text(key.value), Text(key.may_mean))
        console.print(unknown)
    else:
        console.print(Text(f"\nall {len(found.keys)} keys of config.json are recognised"))
    for item in found.disagreements:
        console.print(Text(f"disagreement ({item.subject}): {item.detail}", style="yellow"))
    for note in found.notes:
        console.print(Text(f"note: {note}"))


def _heading(source: Source) -> str:
    pinned = f" at {source.revision}" if source.revision else ""
    return f"{source.name}{pinned}"


def _rows(found: Classification) -> Iterator[tuple[str, str, str]]:
    yield "kind", found.modality, _because(found.evidence("modality"))
    for tag in found.structure:
        yield "structure", tag, _because(found.evidence("structure", tag))
    for name, sizes in groupby(found.sizes, key=lambda size: size.name):
        size = next(sizes)
        yield name, size.value, size.key
    for pattern in found.layer_patterns:
        yield "layers", pattern.summary, pattern.key
    quantised = found.quantisation
    yield ("quantised", _format(quantised), _because(quantised.evidence)) if quantised else ("quantised", "no", "")
    if quantised:
        yield "way out", _way_out(quantised), ""
    if quantised and quantised.left_alone:
        yield (
            "left alone",
            ", ".join(quantised.left_alone[:6]) + (", ..." if len(quantised.left_alone) > 6 else ""),
            "",
        )
    tied = {True: "yes", False: "no", None: "not said"}[found.tied]
    yield "tied embeddings", tied, _because(found.evidence("tied"))
    yield "own code", "yes" if found.custom_code else "no", _because(found.evidence("custom_code"))
    if found.parameters is not None:
        yield "weights", f"{found.parameters:,}", _because(found.evidence("parameters"))


def _because(evidence: tuple[Evidence, ...]) -> str:
    return "\n".join(item.detail for item in evidence[:3])


def _way_out(quantised: Quantisation) -> str:
    """What can be done about it; the formats that a target undoes are its own."""
    from scaffold.targets import TARGETS

    formats = (quantised.format, *quantised.other_formats)
    open_formats = [name for name in formats if not any(target.undoes(name) for target in TARGETS)]
    if open_formats:
        return f"a bf16 copy, with the library that wrote it: nothing here undoes {', '.join(open_formats)}"
    return "new-model dequantises on import, and generates a script for a bf16 copy"


def _format(quantised: Quantisation) -> str:
    parts = [quantised.format]
    if quantised.block_shape:
        parts.append("a scale each " + "x".join(map(str, quantised.block_shape)))
    if quantised.activations:
        parts.append(f"{quantised.activations} activation scales")
    if quantised.kv_cache:
        parts.append(f"KV cache {quantised.kv_cache}")
    if quantised.other_formats:
        parts.append("also " + ", ".join(quantised.other_formats))
    return ", ".join(parts)
