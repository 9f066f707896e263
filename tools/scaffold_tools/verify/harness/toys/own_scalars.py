"""A toy with the model's own scalars instead of canaries: what of a difference shows with the numbers as they are.

Canaries are there to see mistakes; this is there to say fairly what a mistake means for the model as it is configured.
It proves nothing: most scalars are the defaults of the code under test.
"""

from __future__ import annotations

from typing import Any

from toys.rope import is_number
from toys.rows import INTEGER_SCALARS, KEPT, LANGUAGE_CONFIGS, scalar_row

ROPE_KEYS = ("rope_parameters", "rope_scaling")
SHARES = ("partial_rotary_factor", "rotary_pct", "rotary_percent", "rope_pct")
"""Shares of a head have to come out even in the toy's own head."""
LENGTHS = ("original_max_position_embeddings", "initial_context_length")


def with_own_scalars(toy: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """The toy's config with every scalar of the model's.

    Args:
        toy: what `toys.toy_config` made of `config`.
        config: the completed config of the model.
    """
    found = dict(toy)
    for key, value in config.items():
        if key not in toy:
            continue
        if key in LANGUAGE_CONFIGS and isinstance(value, dict):
            found[key] = with_own_scalars(toy[key], value)
        elif key in ROPE_KEYS and isinstance(value, dict):
            found[key] = _rope(toy[key], value)
        elif is_number(value) and _is_scalar(key, value):
            found[key] = value
    return found


def _is_scalar(key: str, value: Any) -> bool:
    if key in SHARES or KEPT.fullmatch(key):
        return False
    named = scalar_row(key) is not None or INTEGER_SCALARS.fullmatch(key) is not None
    return named or isinstance(value, float) or key in LENGTHS


def _rope(toy: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Numbers of a rope table, or of one a layer type; lists have the toy's length."""
    if any(isinstance(item, dict) for item in own.values()):
        return {key: _rope(toy[key], item) if isinstance(item, dict) else item for key, item in own.items()}
    return {key: item if is_number(item) and key not in SHARES else toy.get(key, item) for key, item in own.items()}
