"""Which layers are of a kind, where config keys say it by counting rather than by one label a layer."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from scaffold_tools.blueprint.facts import LayerRule


class LayerRuleRow(NamedTuple):
    """One way to count: `holds(layer, *values)` for the values of keys of the given sorts."""

    name: str
    sorts: tuple[str, ...]
    holds: Callable[..., bool]
    meaning: str


FIRST = ("first_k_dense_replace", "num_dense_layers", "first_k_dense", "moe_layer_start_index")
LAST = ("moe_layer_end_index",)
STEP = (
    *("decoder_sparse_step", "moe_layer_freq", "moe_layer_interval", "interleave_moe_layer_step"),
    *("expert_layer_period", "attn_layer_period"),
)
OFFSET = ("expert_layer_offset", "attn_layer_offset")
WITHOUT = ("mlp_only_layers",)
WITH = ("moe_layers",)
SORTS: dict[str, tuple[str, ...]] = {
    "first": FIRST,
    "last": LAST,
    "step": STEP,
    "offset": OFFSET,
    "without": WITHOUT,
    "with": WITH,
}
"""Keys that usually hold each sort of value; a rule is believed only if it gives the measured layers of both toys."""

RULES: tuple[LayerRuleRow, ...] = (
    LayerRuleRow("listed", ("with",), lambda layer, listed: layer in listed, "the layers of a list"),
    LayerRuleRow("from", ("first",), lambda layer, first: layer >= first, "all but the first ones"),
    LayerRuleRow(
        "unlisted_every",
        ("without", "step"),
        lambda layer, without, step: layer not in without and step > 0 and (layer + 1) % step == 0,
        "the last of every so many, without those of a list",
    ),
    LayerRuleRow(
        "from_every",
        ("first", "step"),
        lambda layer, first, step: layer >= first and layer % step == 0,
        "the first of every so many, but for the first ones",
    ),
    LayerRuleRow(
        "every_between",
        ("step", "first", "last"),
        lambda layer, step, first, last: (layer + 1) % step == 0 and first <= layer <= last,
        "the last of every so many, within bounds",
    ),
    LayerRuleRow(
        "every_at",
        ("step", "offset"),
        lambda layer, step, offset: step > 0 and layer % step == offset,
        "one of every so many, at an offset",
    ),
    LayerRuleRow("every_last", ("step",), lambda layer, step: (layer + 1) % step == 0, "the last of every so many"),
    LayerRuleRow("every_first", ("step",), lambda layer, step: layer % step == 0, "the first of every so many"),
)


def flags(rule: LayerRule, attributes: Mapping[str, Any], layers: int) -> list[bool]:
    """The flags of all layers.

    Raises:
        KeyError: the config has no such key, or no usable value for it.
    """
    row = next(one for one in RULES if one.name == rule.rule)
    values = [int(key) if key.isdigit() else attributes[key] for key in rule.keys]
    if any(value is None for value in values):
        raise KeyError(rule.keys[values.index(None)])
    return [bool(row.holds(layer, *values)) for layer in range(layers)]


def fit(
    a: list[bool],
    b: list[bool],
    toys: tuple[Mapping[str, Any], Mapping[str, Any]],
    layers: str,
    others: Sequence[str] | None = None,
) -> LayerRule | None:
    """The first rule that gives the flags of both toys.

    Args:
        layers: the config key of the number of layers.
        others: further keys, which may hold a number of layers under a name of their own; with them, numbers that
            stand in the code are tried too.
    """
    rules = _candidates(toys[0], layers)
    if others is not None:
        rules = itertools.chain(rules, _by_other_keys(toys, layers, others), _written_out(a, layers))
    for rule in rules:
        if _gives(rule, toys[0], a) and _gives(rule, toys[1], b):
            return rule
    return None


def _by_other_keys(
    toys: tuple[Mapping[str, Any], Mapping[str, Any]], layers: str, others: Sequence[str]
) -> Iterator[LayerRule]:
    """Rules of one number over keys of unknown names; it must differ between the toys, or it could be anything."""
    for key in others:
        one, other = toys[0].get(key), toys[1].get(key)
        if type(one) is int and type(other) is int and one != other and min(one, other) > 0 and key != layers:
            for name in ("from", "every_last", "every_first"):
                yield LayerRule(name, (key,), layers)


def _written_out(flags: list[bool], layers: str) -> Iterator[LayerRule]:
    """Rules whose numbers stand in the code: a period that shows twice, first layers that are the fewer."""
    for step in range(2, len(flags) // 2 + 1):
        for offset in range(step):
            yield LayerRule("every_at", (str(step), str(offset)), layers)
    for first in range(1, (len(flags) + 1) // 2):
        yield LayerRule("from", (str(first),), layers)


def _candidates(attributes: Mapping[str, Any], layers: str) -> Iterator[LayerRule]:
    for row in RULES:
        choices = [[key for key in SORTS[sort] if key in attributes] for sort in row.sorts]
        for keys in product(*choices):
            yield LayerRule(row.name, tuple(keys), layers)


def _gives(rule: LayerRule, attributes: Mapping[str, Any], expected: list[bool]) -> bool:
    try:
        return flags(rule, attributes, len(expected)) == expected
    except (KeyError, TypeError, ZeroDivisionError):
        return False
