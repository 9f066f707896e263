"""What some layers do and others do not: chunks, a temperature on queries, norms on both, bounds in MLPs."""

from __future__ import annotations

from typing import Any

from probes.notebook import Notebook

NOTHING: tuple[tuple[str, str], ...] = (
    ("attention.chunk", ""),
    ("moe.logit_softcap", ""),
    ("mlp.activation.beta", ""),
    ("mlp.clamp", "moe.clamp"),
    ("mlp.up_offset", "moe.up_offset"),
    ("mlp.gate_multiplier", ""),
    ("mlp.output_multiplier", ""),
    ("attention.input_multiplier", ""),
    ("attention.output_multiplier", ""),
    ("mamba.input_multiplier", ""),
    ("mamba.output_multiplier", ""),
)
"""Facts that say nothing where they are None or zero in every layer, or where a fact of experts says it already."""


def settle_some_layers(book: Notebook, columns: dict[str, list[Any]], where: dict[str, str | None]) -> None:
    """Facts of the layers that have them; one flag a layer where some do and some do not.

    Each column has one entry for each attention (None, or False, where it does nothing).
    """
    for name, experts in NOTHING:
        in_experts = len(columns.get(experts, [])) == len(columns.get(name, []))
        if not any(columns.get(name, [])) or in_experts:
            columns.pop(name, None)
    _temperature(book, columns, where)
    flags = columns.pop("qk_norm.layers", [])
    if any(flags) and not all(flags):
        columns["qk_norm.layers"] = flags
        _spread(columns, "qk_norm.after_rope", len(flags))


def _temperature(book: Notebook, columns: dict[str, list[Any]], where: dict[str, str | None]) -> None:
    seen = columns.pop("attention.temperature", [])
    found = [one for one in seen if one is not None]
    if not found:
        return
    place = where["attention.temperature"]
    if len({(one.length, one.offset) for one in found}) > 1:
        book.fail("attention.temperature", "layers scale their queries at different positions", place)
        return
    for name in ("beta", "length", "offset"):
        columns[f"attention.temperature.{name}"] = [getattr(found[0], name)] * len(seen)
        where[f"attention.temperature.{name}"] = place
    if not found[0].offset:
        del columns["attention.temperature.offset"]
    if len(found) < len(seen):
        columns["attention.temperature.layers"] = [one is not None for one in seen]
        where["attention.temperature.layers"] = place


def _spread(columns: dict[str, list[Any]], name: str, count: int) -> None:
    """A fact of some layers, all alike, as one of all; left alone (and so dropped later) where they differ."""
    values = columns.get(name, [])
    if values and len(set(values)) == 1:
        columns[name] = values[:1] * count
