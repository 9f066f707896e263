"""Which layers differ from which: per-layer lists and letters, periods, first dense layers, told in one line each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from scaffold_tools.classify.claims import Disagreement
from scaffold_tools.classify.keys import find
from scaffold_tools.classify.signals import Signals
from scaffold_tools.classify.values import as_int, clean, index_ranges, short

_MAX_LAYERS = 100_000


@dataclass(frozen=True)
class LayerPattern:
    """One pattern over the layers."""

    key: str
    """Dotted path of the key, or a tensor pattern."""
    summary: str
    period: int | None
    """After how many layers it repeats; None when it does not, or is not a list."""


class PeriodRow(NamedTuple):
    """A key that tells a pattern by a number."""

    name: str
    tell: Callable[[int], str | None]


NUMBERS: tuple[PeriodRow, ...] = (
    PeriodRow("full_attention_interval", lambda n: f"every {n}th layer is full attention" if n > 1 else None),
    PeriodRow("sliding_window_pattern", lambda n: f"every {n}th layer attends to everything" if n > 1 else None),
    PeriodRow("first_k_dense_replace", lambda n: f"the first {n} layers have a dense MLP" if n > 0 else None),
    PeriodRow("decoder_sparse_step", lambda n: f"every {n}th layer is a mixture of experts" if n > 1 else None),
    PeriodRow("expert_layer_period", lambda n: f"every {n}th layer is a mixture of experts" if n > 1 else None),
    PeriodRow("attn_layer_period", lambda n: f"every {n}th layer is attention" if n > 1 else None),
    PeriodRow("no_rope_layer_interval", lambda n: f"every {n}th layer has no positions" if n > 1 else None),
    PeriodRow("num_kv_shared_layers", lambda n: f"the last {n} layers reuse keys and values" if n > 0 else None),
)


def layer_patterns(signals: Signals) -> tuple[LayerPattern, ...]:
    """Every per-layer list or letter pattern whose entries differ, and every number that tells one."""
    prefix = f"{signals.text_path}." if signals.text_path else ""
    found = []
    for key, value in signals.text.items():
        entries = _entries(value, signals.num_layers)
        if entries is not None:
            found.append(LayerPattern(clean(f"{prefix}{key}", 100), _counts(entries), period(entries)))
    for row in NUMBERS:
        hit = find(signals.text, row.name)
        number = as_int(hit[1]) if hit else None
        told = row.tell(number) if number is not None else None
        if hit and told:
            found.append(LayerPattern(f"{prefix}{hit[0]}", told, None))
    return (*found, *_expert_layers(signals))


def _entries(value: Any, layers: int | None) -> list[str] | None:
    """The entries of a per-layer list (or letters of a pattern) as text; None for anything else."""
    if isinstance(value, str):
        return list(value) if layers and layers > 1 and len(value) == layers and len(set(value)) <= 8 else None
    if not isinstance(value, list) or not 1 < len(value) <= _MAX_LAYERS:
        return None
    named = all(isinstance(item, str) for item in value) and len(set(value)) < len(value)
    per_layer = layers is not None and len(value) == layers and not any(isinstance(i, (list, dict)) for i in value)
    return (
        [clean(item, 40) if isinstance(item, str) else short(item, 40) for item in value]
        if named or per_layer
        else None
    )


def _counts(entries: list[str]) -> str:
    counted = Counter(entries).most_common(6)
    told = ", ".join(f"{count} x {entry}" for entry, count in counted)
    length = period(entries)
    if length and length > 1:
        unit = entries[:length]
        shown = " ".join(unit) if length <= 8 else f"{length} layers"
        return f"{told}; repeats: {shown}"
    return told


def period(entries: list[str]) -> int | None:
    """The shortest repeat, complete or cut off at the end, of at most half the list."""
    for length in range(1, min(len(entries) // 2, 64) + 1):
        if all(entries[index] == entries[index - length] for index in range(length, len(entries))):
            return length
    return None


def expert_layers(signals: Signals) -> frozenset[int]:
    """Layers whose tensors include experts, read from headers; empty when none were read."""
    if not signals.from_headers:
        return frozenset()
    return frozenset(i for p in signals.matching(r"\.(experts|local_experts)(\.|_|$)") for i in p.layers)


def _expert_layers(signals: Signals) -> tuple[LayerPattern, ...]:
    layers = expert_layers(signals)
    if not layers or signals.num_layers is None or layers >= set(range(signals.num_layers)):
        return ()
    return (LayerPattern("tensors of experts", f"in layers {index_ranges(layers)}", None),)


def layer_disagreements(signals: Signals) -> tuple[Disagreement, ...]:
    """A declared count of dense layers against the layers that have experts; a declared depth against the tensors."""
    found = []
    layers, dense = expert_layers(signals), find(signals.text, "first_k_dense_replace")
    count = as_int(dense[1]) if dense else None
    if dense and count is not None and layers and min(layers) != count:
        what = f"{dense[0]} = {count}, but the first layer with experts is {min(layers)}"
        found.append(Disagreement("layers", what))
    if signals.from_headers and signals.num_layers:
        there = {i for p in signals.matching(r"(norm|ln_\w+|layernorm)\w*\.weight$") for i in p.layers}
        missing = set(range(signals.num_layers)) - there if there else set()
        if missing:
            what = f"the config gives {signals.num_layers} layers, but layers {index_ranges(missing)} have no norms"
            found.append(Disagreement("layers", what))
    return tuple(found)
