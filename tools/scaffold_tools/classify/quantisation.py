"""Whether and how the checkpoint is quantised: what the config declares, what the tensors show, where they differ."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from scaffold_tools.classify.claims import Disagreement
from scaffold_tools.classify.evidence import Evidence
from scaffold_tools.classify.quant_declared import Declared, declarations
from scaffold_tools.classify.quant_stored import Stored, modules, stored_formats
from scaffold_tools.classify.signals import Signals
from scaffold_tools.classify.values import clean

_VAGUE = frozenset({"modelopt", "mixed", "compressed-tensors", "torchao"})
"""What a declaration says when it leaves the format open; nothing that is stored contradicts it."""

_INDEX = re.compile(r"(?<=\.)\d{1,6}(?=\.|$)")
_EXACT = re.compile(r"\w+(\.\w+)+")


@dataclass(frozen=True)
class Quantisation:
    """How the weights are stored."""

    method: str | None
    """`quant_method` of the config; None when only the tensors show it."""
    format: str
    """fp8-block, fp8-channel, fp8-tensor, mxfp4, mxfp8, nvfp4, int-packed, int8, gptq, awq, bnb-nf4, bnb-int8, ..."""
    bits: int | None
    block_shape: tuple[int, ...] | None
    """Rows and columns that share a scale; (1, n): groups of n along a row; (n,): n values in storage order; None: one
    scale a tensor or row, or unknown."""
    scale_tensors: tuple[str, ...]
    """Endings of the names of scale tensors; empty when no header was read."""
    other_formats: tuple[str, ...]
    """Further formats in the same checkpoint."""
    activations: str | None
    kv_cache: str | None
    left_alone: tuple[str, ...]
    """Modules that are declared unquantised, indices replaced by `*`."""
    evidence: tuple[Evidence, ...]
    disagreements: tuple[Disagreement, ...]


def quantisation(signals: Signals) -> Quantisation | None:
    """What is declared and stored, joined; None when neither says that anything is quantised.

    A table derived from a class shows the unquantised model, so only headers that were read can contradict.
    """
    declared = declarations(signals)
    stored = _stored(signals, declared) if signals.from_headers else ()
    if not declared and not stored:
        return None
    first, shown = (declared[0] if declared else None), (stored[0] if stored else None)
    evidence = [Evidence("tensor", item.detail) for item in stored]
    evidence += [Evidence("key", f"{item.where}: {item.detail}") for item in declared]
    shared = {*(item.format for item in stored), *(item.format for item in declared)} - _VAGUE
    name = shown.format if shown else declared[0].format
    return Quantisation(
        method=first.method if first else None,
        format=name,
        bits=_first(item.bits for item in (shown, *declared) if item),
        block_shape=_first(item.block for item in (shown, *declared) if item and item.format in (name, *_VAGUE)),
        scale_tensors=shown.scales if shown else (),
        other_formats=tuple(sorted(shared - {name})),
        activations=_first(item.activations for item in declared),
        kv_cache=_first(item.kv_cache for item in declared) or _cache_scales(signals),
        left_alone=_told_names(declared),
        evidence=tuple(evidence),
        disagreements=_disagreements(signals, declared, stored),
    )


def _stored(signals: Signals, declared: tuple[Declared, ...]) -> tuple[Stored, ...]:
    """Stored formats; where packed int32 fits 4 bits and 8 bits alike, the declared width is taken.

    The true width of the row would settle it, but stands in the data of `weight_shape`, not in a header.
    """
    eight = any(item.format == "int-packed" and item.bits == 8 for item in declared)
    return tuple(_in_eight_bits(item) if eight else item for item in stored_formats(signals.patterns))


def _in_eight_bits(item: Stored) -> Stored:
    if item.format != "int-packed" or item.bits != 4 or item.block not in (None, (1, 64), (1, 128)):
        return item
    return replace(item, bits=8, values_per_element=4, block=item.block and (1, item.block[1] // 2))


def _first[T](values: Iterable[T | None]) -> T | None:
    return next((value for value in values if value is not None), None)


def _cache_scales(signals: Signals) -> str | None:
    has = next((pattern for pattern in signals.matching(r"\.(k_scale|v_scale)$")), None)
    return f"scales stored ({clean(has.name, 80)})" if has else None


def _told_names(declared: tuple[Declared, ...]) -> tuple[str, ...]:
    names = (_INDEX.sub("*", name[:500]) for item in declared for name in item.left_alone)
    return tuple(dict.fromkeys(clean(name, 100) for name in names))[:40]


def _disagreements(
    signals: Signals, declared: tuple[Declared, ...], stored: tuple[Stored, ...]
) -> tuple[Disagreement, ...]:
    found = [*_between(declared)]
    if signals.from_headers and declared and not stored:
        what = f"{declared[0].where} declares {declared[0].format}, but no tensor of the checkpoint is quantised"
        found.append(Disagreement("quantisation", what))
    if stored and not declared:
        what = f"tensors are stored as {stored[0].format}, but no config declares a quantisation"
        found.append(Disagreement("quantisation", what))
    if stored and declared:
        found += _against(declared[0], stored)
    if any(item.format == "fp8-unscaled" for item in stored):
        found.append(Disagreement("quantisation", f"{stored[0].modules[0]} is FP8, but has no scale tensor"))
    if declared and stored:
        found += _quantised_all_the_same(signals, declared)
    return tuple(found)


def _between(declared: tuple[Declared, ...]) -> list[Disagreement]:
    """Two declarations of one repository that name different formats."""
    if len(declared) < 2 or declared[0].format == declared[1].format or {d.format for d in declared} & _VAGUE:
        return []
    one, two = declared[:2]
    return [Disagreement("quantisation", f"{one.where} declares {one.format}, {two.where} declares {two.format}")]


def _against(declared: Declared, stored: tuple[Stored, ...]) -> list[Disagreement]:
    same = next((item for item in stored if item.format == declared.format), None)
    if same is None:
        if declared.format in _VAGUE:
            return []
        what = f"{declared.where} declares {declared.format}, the tensors are stored as {stored[0].format}"
        return [Disagreement("quantisation", what)]
    found = []
    for word, said, seen in (
        ("block", declared.block, same.block),
        ("width in bits", declared.bits, same.bits),
    ):
        if said is not None and seen is not None and said != seen:
            what = f"{declared.where} declares a {word} of {_told(said)}, the scales fit {_told(seen)}"
            found.append(Disagreement("quantisation", what))
    return found


def _told(value: tuple[int, ...] | int) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _quantised_all_the_same(signals: Signals, declared: tuple[Declared, ...]) -> list[Disagreement]:
    """Modules spelled out as left alone (no wildcard, at most one index) that have scale tensors all the same."""
    scaled: dict[str, tuple[str, set[int]]] = {}
    for module, parts in modules(signals.patterns).items():
        for part, pattern in parts.items():
            if part.startswith(("weight_scale", "scale_inv")) or part == "qweight":
                scaled.setdefault(_INDEX.sub("*", module), (part, set()))[1].update(pattern.layers)
    for name in (name for item in declared for name in item.left_alone if _EXACT.fullmatch(name[:200])):
        indices = [int(index) for index in _INDEX.findall(name)]
        part, layers = scaled.get(_INDEX.sub("*", name), ("", set()))
        if part and len(indices) <= 1 and layers.issuperset(indices):
            return [Disagreement("quantisation", f"{clean(name)} is declared left alone, but has {part}")]
    return []


def logical_elements(signals: Signals) -> int:
    """Weights of the model: packed tensors counted by the values they hold, scales and zero points not at all."""
    values: dict[tuple[str, str], int] = {}
    by_module = modules(signals.patterns)
    for item in _stored(signals, declarations(signals)):
        for module in item.modules:
            for part, pattern in by_module[module].items():
                if part == item.packed:
                    values[pattern.name, pattern.first.dtype] = item.values_per_element
                elif part not in ("weight", "bias"):
                    values[pattern.name, pattern.first.dtype] = 0
    return sum(pattern.elements * values.get((pattern.name, pattern.first.dtype), 1) for pattern in signals.patterns)
