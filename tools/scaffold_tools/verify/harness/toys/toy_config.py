"""The config of a toy: structure kept, sizes shrunk, every scalar a canary. Pure Python over the raw config.

Two variants, `a` and `b`, differ in every size and every scalar, so a number that an integration hard-codes cannot be
right for both. Structural keys (flags, activation, layer kinds, rope type) are the model's own.
"""

from __future__ import annotations

import math
from typing import Any

from toys.layers import chosen_layers, truncate_layers
from toys.rope import head_dim_of, partial_share, shrink_rope
from toys.rows import (
    DROPPED,
    GLOBAL_HEAD_DIM,
    GLOBAL_HEAD_DIM_KEYS,
    HEAD_DIM,
    HEAD_DIM_KEYS,
    HEAD_KEYS,
    INTEGER_SCALARS,
    KEPT,
    KV_KEYS,
    LANGUAGE_CONFIGS,
    LAYER_KEYS,
    TOKEN_ID,
    USUAL_SIZES,
    WIDTH_OF_TEXT_KEYS,
    ZEROED,
    Sizes,
    heads_by_layer,
    is_int,
    linear_blocks,
    linked_sizes,
    scalar_row,
    size_row,
    state_space_heads,
    width_of_head,
)


def sanitise(config: dict[str, Any]) -> dict[str, Any]:
    """A raw config.json without the keys that could make transformers run code or pick kernels."""
    kept = {}
    for key, value in config.items():
        if key == "auto_map" or str(key).startswith("_"):
            continue
        kept[str(key)] = sanitise(value) if isinstance(value, dict) else value
    return kept


class _Canaries:
    """Hands out values near a given one, each at most once a config."""

    def __init__(self, variant: str) -> None:
        self.variant = variant
        self.used: set[float] = set()

    def near(self, value: float) -> float:
        """A value within 25% of `value` (first brought into 0.01 .. 100), not used before; a share stays one."""
        sane = math.copysign(min(max(abs(value), 0.01), 100.0), value)
        for step in range(200):
            share = 0.07 + 0.013 * (step % 14) + 0.0007 * (step // 14)
            sign = 1 if (step % 2 == 0) == (self.variant == "a") else -1
            found = round(sane * (1 + sign * share), 6)
            if 0 < value < 1 <= found:  # a share of something
                continue
            if self.take(found):
                return found
        raise ValueError(f"no canary left near {value}")

    def row(self, value: float) -> float:
        """The value of a row, moved a little where another key already has it."""
        for step in range(200):
            if self.take(found := round(value * (1 + 0.23 * step), 6)):
                return found
        raise ValueError(f"no canary left near {value}")

    def take(self, value: float) -> bool:
        if value in self.used:
            return False
        self.used.add(value)
        return True


def shrink_config(config: dict[str, Any], variant: str = "a", sizes: Sizes | None = None) -> dict[str, Any]:
    """The toy's config: structure kept, sizes shrunk, every scalar a canary.

    Args:
        config: a raw config.json (it is sanitised first); nested `text_config` and towers are shrunk too.
        variant: `a` or `b`.
        sizes: heads of the toy; the usual ones by default.
    """
    if variant not in ("a", "b"):
        raise ValueError(f"variant is 'a' or 'b', not {variant!r}")
    return _shrink(sanitise(config), variant, _Canaries(variant), False, sizes or USUAL_SIZES[0])


def _shrink(
    config: dict[str, Any], variant: str, canaries: _Canaries, tower: bool, sizes: Sizes = USUAL_SIZES[0]
) -> dict[str, Any]:
    toy = {key: value for key, value in config.items() if key not in DROPPED}
    indices: list[int] = []
    if not tower:
        indices = chosen_layers(config, variant, sizes.layers_multiple)
        toy |= truncate_layers(config, indices)
        toy |= _heads(config, variant, sizes) | linear_blocks(config, variant)
    done = (
        {*LAYER_KEYS, *HEAD_KEYS, *KV_KEYS, *HEAD_DIM_KEYS, *GLOBAL_HEAD_DIM_KEYS, "qk_head_dim"}
        if not tower
        else set()
    )
    for key in toy:
        if key not in done:
            toy[key] = _shrunk_value(key, toy[key], variant, canaries, tower)
    toy |= linked_sizes(config, toy)
    toy |= heads_by_layer(config, toy) if not tower else {}
    toy |= _token_ids(toy)
    rotary = _partial_rotary(config, toy, variant, sizes) if not tower else {}
    toy |= rotary
    toy |= shrink_rope(config, toy, variant, canaries, tower)
    toy |= _nested(config, variant, canaries, sizes)
    return toy


def _shrunk_value(key: str, value: Any, variant: str, canaries: _Canaries, tower: bool) -> Any:
    if isinstance(value, dict) and not key.startswith("rope_") and not key.endswith("_config"):
        return {name: _shrunk_value(name, item, variant, canaries, tower) for name, item in value.items()}
    if value is None or isinstance(value, (bool, str, dict)):
        return value
    if isinstance(value, list):
        row = size_row(key, tower)
        if row is not None and value and all(map(is_int, value)):  # one size a layer: equal ones stay equal
            sizes = sorted(set(value))
            return [row.value(variant, item) + 8 * sizes.index(item) for item in value]
        numbers = bool(value) and all(isinstance(item, float) for item in value) and not KEPT.fullmatch(key)
        return [_canary(key, item, variant, canaries) for item in value] if numbers else value
    row = size_row(key, tower)
    if row is not None and is_int(value) and value > 0:
        return row.value(variant, value)
    return _canary(key, value, variant, canaries)


def _canary(key: str, value: Any, variant: str, canaries: _Canaries) -> Any:
    if ZEROED.fullmatch(key) and not isinstance(value, str):
        return 0 if is_int(value) else 0.0  # a field may be declared int, and its class strict
    row = scalar_row(key) if math.isfinite(value) else None
    if row is not None and value:
        found = canaries.row(row.a if variant == "a" else row.b)
        return round(found) if row.integer else found
    if KEPT.fullmatch(key) or not math.isfinite(value):
        return value
    scalar = isinstance(value, float) or INTEGER_SCALARS.fullmatch(key) is not None
    return canaries.near(float(value)) if scalar and value else value


def _heads(config: dict[str, Any], variant: str, sizes: Sizes) -> dict[str, Any]:
    """Head counts (grouped, multi-query or plain, as in the model) and explicit head sizes."""
    changed: dict[str, Any] = {}
    heads, groups = sizes.heads[variant]
    real_heads = next((config[key] for key in HEAD_KEYS if is_int(config.get(key))), None)
    for key in HEAD_KEYS:
        if is_int(config.get(key)):
            changed[key] = heads
    for key in KV_KEYS:
        real = config.get(key)
        if is_int(real):
            changed[key] = heads if real == real_heads else 1 if real == 1 else groups
    latent = is_int(config.get("kv_lora_rank"))
    rope_row = size_row("qk_rope_head_dim", False)
    for key in HEAD_DIM_KEYS:
        if is_int(config.get(key)):
            own = width_of_head(config, variant, heads) if sizes.head_dim_is_quotient else HEAD_DIM[variant]
            changed[key] = rope_row.value(variant, 2) if latent and rope_row else own
    changed |= state_space_heads(config, variant)
    for key in GLOBAL_HEAD_DIM_KEYS:
        if is_int(config.get(key)):
            changed[key] = GLOBAL_HEAD_DIM[variant]
    if is_int(config.get("qk_head_dim")):
        parts = (size_row("qk_nope_head_dim", False), size_row("qk_rope_head_dim", False))
        changed["qk_head_dim"] = sum(part.value(variant, 2) for part in parts if part)
    return changed


def _partial_rotary(config: dict[str, Any], toy: dict[str, Any], variant: str, sizes: Sizes) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    head_dim = head_dim_of(toy)
    for key in ("partial_rotary_factor", "rotary_pct", "rotary_percent", "rope_pct"):
        if isinstance(config.get(key), (int, float)) and config[key]:
            own = float(config[key])
            changed[key] = own if sizes.rotary_kept else partial_share(head_dim, own, variant)
    if is_int(config.get("rotary_dim")) and config["rotary_dim"] > 0:
        whole = config["rotary_dim"] >= head_dim_of(config)
        changed["rotary_dim"] = round(head_dim * partial_share(head_dim, 1.0 if whole else 0.5, variant))
    return changed


def _token_ids(toy: dict[str, Any]) -> dict[str, Any]:
    """Every token id at or above the toy's vocabulary becomes one below it, counted down from the last."""
    vocab = toy.get("vocab_size")
    if not is_int(vocab):
        vocab = size_row("vocab_size", False).value("a", 2)  # type: ignore[union-attr]
    changed: dict[str, Any] = {}
    following = vocab - 1
    for key, value in toy.items():
        if not TOKEN_ID.fullmatch(key):
            continue
        ids = value if isinstance(value, list) else [value]
        if not all(is_int(item) for item in ids):
            continue
        kept = []
        for item in ids:
            kept.append(item if item < vocab else following)
            following -= item >= vocab
        changed[key] = kept if isinstance(value, list) else kept[0]
    return changed


def _nested(config: dict[str, Any], variant: str, canaries: _Canaries, sizes: Sizes) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict) and key.endswith("_config") and key not in DROPPED:
            changed[key] = _shrink(value, variant, canaries, key not in LANGUAGE_CONFIGS, sizes)
    text = next((changed[key] for key in LANGUAGE_CONFIGS if key in changed), None)
    width = text.get("hidden_size") if text else None
    for nested in changed.values():
        nested.update(_of_siblings(nested, changed))
    for name, nested in changed.items():
        if name in LANGUAGE_CONFIGS or not width:
            continue
        nested.update({key: width for key in WIDTH_OF_TEXT_KEYS if is_int(nested.get(key))})
        if isinstance(nested.get("deepstack_visual_indexes"), list) and nested["deepstack_visual_indexes"]:
            nested["deepstack_visual_indexes"] = [0]
    return changed


def _of_siblings(nested: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    """Sizes that repeat one of another part: `hidden_size_global` is the `hidden_size` of `global_config`."""
    found = {}
    for key in nested:
        for name, part in parts.items():
            own = key.removesuffix("_" + name.removesuffix("_config"))
            if own != key and is_int(part.get(own)):
                found[key] = part[own]
    return found
