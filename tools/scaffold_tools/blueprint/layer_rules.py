"""Which layers are of a kind, where config keys say it by counting rather than by one label a layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
STEP = ("decoder_sparse_step", "moe_layer_freq", "moe_layer_interval", "interleave_moe_layer_step")
WITHOUT = ("mlp_only_layers",)
WITH = ("moe_layers",)
SORTS: dict[str, tuple[str, ...]] = {"first": FIRST, "last": LAST, "step": STEP, "without": WITHOUT, "with": WITH}
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
    LayerRuleRow("every_last", ("step",), lambda layer, step: (layer + 1) % step == 0, "the last of every so many"),
    LayerRuleRow("every_first", ("step",), lambda layer, step: layer % step == 0, "the first of every so many"),
)


def flags(rule: LayerRule, attributes: Mapping[str, Any], layers: int) -> list[bool]:
    """The flags of all layers.

    Raises:
        KeyError: the config has no such key, or no usable value for it.
    """
    row = next(one for one in RULES if one.name == rule.rule)
    values = [attributes[key] for key in rule.keys]
    if any(value is None for value in values):
        raise KeyError(rule.keys[values.index(None)])
    return [bool(row.holds(layer, *values)) for layer in range(layers)]


def fit(
    a: list[bool], b: list[bool], toys: tuple[Mapping[str, Any], Mapping[str, Any]], layers: str
) -> LayerRule | None:
    """The first rule that gives the flags of both toys.

    Args:
        layers: the config key of the number of layers.
    """
    for rule in _candidates(toys[0], layers):
        if _gives(rule, toys[0], a) and _gives(rule, toys[1], b):
            return rule
    return None


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
