"""Default configs that do not build: what publishers always set is filled in, by what the class says it needs.

A repair is tried only when the class refuses its own defaults, and kept only if the class then builds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

Check = Callable[[dict[str, Any]], None]
"""Raises when a config does not build."""
MAX_TOGETHER = 4


class Repair(NamedTuple):
    """A value that follows from others."""

    key: str
    """Of the config, or dotted, of a config inside it."""
    value: Callable[[dict[str, Any]], Any]
    why: str
    empty: Any = None
    """The default that says nothing."""


def _count(config: dict[str, Any], *keys: str) -> int:
    return next((config[key] for key in keys if isinstance(config.get(key), int)), 0)


def _heads(config: dict[str, Any]) -> int:
    return _count(config, "num_attention_heads", "n_head", "n_heads")


def _width(config: dict[str, Any]) -> int:
    return _count(config, "hidden_size", "d_model", "n_embd")


def _kinds(config: dict[str, Any]) -> list[str]:
    return ["full_attention"] * _count(config, "num_hidden_layers", "n_layer", "num_layers")


REPAIRS: tuple[Repair, ...] = (
    Repair("head_dim", lambda config: _width(config) // _heads(config), "hidden size / heads"),
    Repair("num_key_value_heads", _heads, "as many as heads"),
    Repair("layer_types", _kinds, "full attention in every layer"),
    Repair("n_routed_experts", lambda config: 8, "a mixture needs experts"),
    Repair("num_experts", lambda config: 8, "a mixture needs experts"),
    Repair("num_local_experts", lambda config: 8, "a mixture needs experts"),
    Repair("n_shared_experts", lambda config: 1, "a mixture with shared experts"),
    Repair("num_experts_per_tok", lambda config: 2, "a router needs a number of choices"),
    Repair("moe_topk", lambda config: 2, "a router needs a number of choices"),
    Repair("moe_intermediate_size", lambda config: _width(config) // 2, "half the hidden size"),
    Repair("intermediate_size", lambda config: _width(config) * 4, "four times the hidden size"),
    Repair("n_group", lambda config: 1, "no groups"),
    Repair("topk_group", lambda config: 1, "no groups"),
    Repair("vocab_size", lambda config: 32000, "a vocabulary"),
    Repair("default_language", lambda config: (config.get("languages") or [None])[0], "the first of its languages"),
    Repair("is_decoder", lambda config: True, "the class is for decoding", empty=False),
)
"""In the order in which they are tried; only for keys that a config has and leaves at a default that says nothing."""


MISSING: dict[str, Any] = {"rope_theta": 10000.0}
"""Attributes that a class reads from a nested config whose own defaults lack it."""


def _with_missing(config: dict[str, Any], error: Exception) -> tuple[dict[str, Any], list[str]]:
    """The config with the attribute that the class missed, in the nested config where it looked for it."""
    place = getattr(getattr(error, "obj", None), "base_config_key", None)
    name = getattr(error, "name", None)
    if not place or name not in MISSING or not isinstance(config.get(place), dict):
        return config, []
    changed = _with(config, f"{place}.{name}", MISSING[name])
    return changed, [f"{place}.{name} = {MISSING[name]} (the class reads it, its defaults lack it)"]


def repaired(config: dict[str, Any], check: Check) -> tuple[dict[str, Any], list[str]]:
    """The config with the fewest repairs that makes it build, and what they were.

    Raises:
        Exception: whatever the class said of its unrepaired defaults, when no repair helps.
    """
    try:
        check(config)
        return config, []
    except Exception as error:
        first = error
    config, added = _with_missing(config, first)
    if added:
        check(config)
        return config, added
    rows = [row for row in REPAIRS if _at(config, row.key, row) is row.empty and _value(row, config)]
    for size in range(1, min(len(rows), MAX_TOGETHER) + 1):
        for chosen in itertools.combinations(rows, size):
            candidate = config
            for row in chosen:
                candidate = _with(candidate, row.key, row.value(config))
            try:
                check(candidate)
            except Exception:  # not enough, or not the right one
                continue
            return candidate, [f"{row.key} = {_short(_at(candidate, row.key, None))} ({row.why})" for row in chosen]
    raise first


def _at(config: dict[str, Any], path: str, default: Any) -> Any:
    """The value at a dotted path."""
    key, _, rest = path.partition(".")
    if not rest:
        return config.get(key, default)
    inner = config.get(key)
    return _at(inner, rest, default) if isinstance(inner, dict) else default


def _with(config: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The config with a value set at a dotted path."""
    key, _, rest = path.partition(".")
    return config | {key: _with(config[key], rest, value) if rest else value}


def _value(row: Repair, config: dict[str, Any]) -> Any:
    try:
        return row.value(config)
    except ZeroDivisionError:
        return None


def _short(value: Any) -> str:
    return str(value) if not isinstance(value, list) else f"[{value[0]!r}] * {len(value)}"
