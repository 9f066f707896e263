"""Which of the model's layers a toy keeps, so that every kind of layer occurs in it."""

from __future__ import annotations

import itertools
import math
from typing import Any

from toys.rows import (
    LAST_LAYERS,
    LAYER_INDEX_LISTS,
    LAYER_KEYS,
    LAYER_STRINGS,
    MAX_TOY_LAYERS,
    PERIOD_KEYS,
    TOKEN_ID,
    is_int,
)

MANY_LAYERS = 2000
"""No model has more; a config that claims so must not cost memory."""


def layer_count(config: dict[str, Any]) -> tuple[str, int] | None:
    """The key that holds the number of layers, and the number."""
    return next(((key, config[key]) for key in LAYER_KEYS if is_int(config.get(key))), None)


def per_layer_keys(config: dict[str, Any], layers: int) -> list[str]:
    """Keys with one value a layer (or a few more: lists that also cover prediction layers)."""
    lists = {key: value for key, value in config.items() if isinstance(value, list) and not TOKEN_ID.fullmatch(key)}
    found = [key for key, value in lists.items() if layers > 2 and layers <= len(value) <= layers + 4]
    found = [key for key in found if key not in LAYER_INDEX_LISTS]
    return found + [key for key in LAYER_STRINGS if isinstance(config.get(key), str) and len(config[key]) == layers]


def chosen_layers(config: dict[str, Any], variant: str, multiple: int = 1) -> list[int]:
    """Layer numbers of the model that make up the toy, in order; as many as `multiple` divides, where it has so many.

    One full period of every pattern and one layer more; variant b has one more than a. A pattern longer than
    `MAX_TOY_LAYERS` is compressed to the first layer of each kind plus its successor's kind where it fits.
    """
    found = layer_count(config)
    if found is None:
        return []
    layers = min(found[1], MANY_LAYERS)
    kinds = _kinds(config, layers)
    need = max(2, period(kinds), _declared_period(config), _leading(config) + 1) + 1
    if need <= MAX_TOY_LAYERS:
        return list(range(min(layers, rounded_up(need + (variant == "b"), multiple))))
    firsts = [index for index in range(layers) if kinds.index(kinds[index]) == index]
    chosen = sorted({*firsts, *(index + 1 for index in firsts if index + 1 < layers)})
    picked = (chosen if len(chosen) <= MAX_TOY_LAYERS else firsts)[:MAX_TOY_LAYERS]
    others = (index for index in range(layers) if index not in picked)
    return sorted([*picked, *itertools.islice(others, rounded_up(len(picked), multiple) - len(picked))])


def rounded_up(count: int, multiple: int) -> int:
    """The smallest multiple that is not below a count."""
    return -(-count // multiple) * multiple


def truncate_layers(config: dict[str, Any], indices: list[int]) -> dict[str, Any]:
    """The layer count and every per-layer value, for the chosen layers alone."""
    found = layer_count(config)
    if found is None:
        return {}
    key, layers = found
    changed: dict[str, Any] = {key: len(indices)}
    for name in per_layer_keys(config, layers):
        value = config[name]
        kept = [value[index] for index in indices]
        changed[name] = "".join(kept) if isinstance(value, str) else kept + list(value[layers:])
    for name in LAYER_INDEX_LISTS:
        if isinstance(config.get(name), list):
            changed[name] = [new for new, old in enumerate(indices) if old in config[name]]
    for name in LAST_LAYERS:
        if is_int(config.get(name)):
            changed[name] = sum(index >= layers - config[name] for index in indices)
    if is_int(config.get("max_window_layers")):
        real = config["max_window_layers"]
        changed["max_window_layers"] = 1 if 0 < real < layers else min(real, len(indices))
    return changed


def _kinds(config: dict[str, Any], layers: int) -> list[tuple[Any, ...]]:
    """What distinguishes each layer, as far as lists tell."""
    keys = per_layer_keys(config, layers)  # none where the count was cut: no list is as long as it claims
    index_lists = [config[key] for key in LAYER_INDEX_LISTS if isinstance(config.get(key), list)]
    starts = [layers - config[key] for key in LAST_LAYERS if is_int(config.get(key))]
    return [
        (
            *(repr(config[key][index]) for key in keys),
            *(index in listed for listed in index_lists),
            *(index >= start for start in starts),
        )
        for index in range(layers)
    ]


def period(kinds: list[tuple[Any, ...]]) -> int:
    """The shortest p with kind[i] == kind[i + p] throughout, but long enough that every kind occurs."""
    count = len(kinds)
    period = next((p for p in range(1, count) if all(kinds[i] == kinds[i + p] for i in range(count - p))), count)
    if period * 2 <= count or period == 1:
        return period
    return max(kinds.index(kind) for kind in set(kinds)) + 1  # no repetition: up to the last new kind


def _declared_period(config: dict[str, Any]) -> int:
    periods = [config[key] for key in PERIOD_KEYS if is_int(config.get(key)) and config[key] > 0]
    return math.lcm(*periods) if periods else 1


def _leading(config: dict[str, Any]) -> int:
    """Leading dense layers of the toy, which come before the first period."""
    keys = ("first_k_dense_replace", "num_dense_layers", "first_k_dense")
    return 1 if any(is_int(config.get(key)) and config[key] > 0 for key in keys) else 0
