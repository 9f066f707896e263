"""Rope settings of a toy: the type is kept, every number is a canary, and the dict stays one transformers accepts."""

from __future__ import annotations

import math
from typing import Any, Protocol

from toys.rows import (
    HEAD_DIM_KEYS,
    HEAD_KEYS,
    ORIGINAL_LENGTH,
    ROPE_SCALARS,
    ROTARY_SHARE,
    is_int,
    scalar_row,
)

LENGTH = "max_position_embeddings"
ROPE_KEYS = ("rope_scaling", "rope_parameters")
YARN_BASE = {"a": 23.0, "b": 31.0}
"""Base of a rotation stretched by YaRN: with a large one the few pairs of a toy lie outside of its correction range,
and neither beta would change anything."""


class Canaries(Protocol):
    """What `toy._Canaries` offers."""

    def row(self, value: float) -> float: ...
    def near(self, value: float) -> float: ...


def shrink_rope(
    config: dict[str, Any], toy: dict[str, Any], variant: str, canaries: Canaries, tower: bool
) -> dict[str, Any]:
    """The rope dicts (flat, or one a layer type) and original lengths of `config`, as the toy has them."""
    changed: dict[str, Any] = {}
    for key in ("original_max_position_embeddings", "initial_context_length"):
        if is_int(config.get(key)):
            changed[key] = ORIGINAL_LENGTH[variant]
    for key in ROPE_KEYS:
        value = config.get(key)
        if not isinstance(value, dict):
            continue
        if "dynamic" in (value.get("rope_type"), value.get("type")) and is_int(config.get(LENGTH)):
            changed[LENGTH] = ORIGINAL_LENGTH[variant]  # it scales beyond the maximum alone
        if any(isinstance(item, dict) for item in value.values()):
            changed[key] = {
                name: _dict(item, _head_dim(toy, name), variant, canaries, toy) if isinstance(item, dict) else item
                for name, item in value.items()
            }
        else:
            changed[key] = _dict(value, _head_dim(toy, ""), variant, canaries, toy)
    if is_number(config.get("rope_theta")) and any(_is_yarn(config.get(key)) for key in ROPE_KEYS):
        changed["rope_theta"] = YARN_BASE[variant]
    for name, item in changed.get("rope_parameters", {}).items():
        if item is not None and is_same_number(config.get(name), config["rope_parameters"].get(name)):
            changed[name] = item  # stated twice: still the same in the toy
    return changed


def is_same_number(one: Any, other: Any) -> bool:
    """Two equal numbers; booleans are none."""
    return is_number(one) and is_number(other) and one == other


def is_number(value: Any) -> bool:
    """An integer or a float; booleans are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_yarn(value: Any) -> bool:
    return isinstance(value, dict) and "yarn" in (value.get("rope_type"), value.get("type"))


def rotary_dims(head_dim: int, share: float) -> int:
    """Rotated dims of a head, as transformers computes them."""
    return int(head_dim * share)


def head_dim_of(toy: dict[str, Any]) -> int:
    """Dims of one attention head of a toy (explicit, or hidden size over heads)."""
    explicit = next((toy[key] for key in HEAD_DIM_KEYS if is_int(toy.get(key))), None)
    width = next((toy[key] for key in ("hidden_size", "n_embd", "d_model") if is_int(toy.get(key))), 0)
    heads = next((toy[key] for key in HEAD_KEYS if is_int(toy.get(key))), 1)
    return explicit or width // heads


def partial_share(head_dim: int, real: float, variant: str) -> float:
    """A share of a head such that int(head_dim * share) is even, at least 4, and below the head (1.0 stays 1.0)."""
    if real >= 1.0:
        return real
    dims = max(4, 2 * round(head_dim * ROTARY_SHARE[variant] / 2))
    share = dims / head_dim
    return share if int(head_dim * share) == dims else math.nextafter(share, 2.0)


def _head_dim(toy: dict[str, Any], layer_type: str) -> int:
    """Dims that carry position, in layers of that type."""
    if is_int(toy.get("qk_rope_head_dim")):
        return toy["qk_rope_head_dim"]
    if layer_type == "full_attention" and is_int(toy.get("global_head_dim")):
        return toy["global_head_dim"]
    return head_dim_of(toy)


def _dict(
    value: dict[str, Any], head_dim: int, variant: str, canaries: Canaries, toy: dict[str, Any]
) -> dict[str, Any]:
    changed = dict(value)
    share = float(toy.get("partial_rotary_factor") or 1.0)
    if isinstance(value.get("partial_rotary_factor"), (int, float)):
        own = float(value["partial_rotary_factor"])
        kept = share == own  # the toy's key of that name says so
        share = changed["partial_rotary_factor"] = own if kept else partial_share(head_dim, own, variant)
    half = rotary_dims(head_dim, share) // 2
    for key, item in value.items():
        if key == "partial_rotary_factor" or isinstance(item, bool) or item is None:
            continue
        if key == "original_max_position_embeddings":
            changed[key] = ORIGINAL_LENGTH[variant]
        elif key == "rope_theta" and _is_yarn(value):
            changed[key] = YARN_BASE[variant]
        elif key in ("short_factor", "long_factor"):
            start = {"short_factor": 1.03, "long_factor": 1.61}[key]
            step = {"a": 0.13, "b": 0.19}[variant]
            changed[key] = [round(start + step * index, 4) for index in range(half)]
        elif key == "mrope_section" and isinstance(item, list):
            third = half // 3
            changed[key] = [half - 2 * third, third, third]
        elif isinstance(item, (int, float)):
            row = scalar_row(key, ROPE_SCALARS)
            if row is not None and item:
                changed[key] = canaries.row(row.a if variant == "a" else row.b)
            elif isinstance(item, float) and item:
                changed[key] = canaries.near(item)
    return changed
