"""From measured numbers to expressions over the config: which key, or product of keys, gives the value in both toys.

Every size and scalar of a toy is a canary (nobody's default, different in the two variants), so a number that matches
a key in both variants follows from that key.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from scaffold_tools.blueprint.facts import Chosen, Const, Expression, LayerRule, PerLayer, Product, Rounded, Term
from scaffold_tools.blueprint.layer_rules import fit, flags

POWERS = (1.0, -1.0, 0.5, -0.5)
CONSTANTS: tuple[float, ...] = (1, 2, 3, 4, 8, 0.5, 0.25, 1 / 3, 2 / 3)
"""Factors that code writes out (`4 * hidden_size`); anything else is no formula but a coincidence."""
WIDTHS = ("hidden_size", "n_embd", "d_model", "dim")
TOLERANCE = 3e-6

Attributes = Mapping[str, Any]


@dataclass(frozen=True)
class Toys:
    """Config attributes of the two toys, and the keys that may appear in an expression, best first."""

    a: Attributes
    b: Attributes
    keys: tuple[str, ...]
    read: frozenset[str] = frozenset()
    """Those of the keys that the code reads: between keys of equal value they win."""


def is_number(value: Any) -> bool:
    """An int or float that is no boolean."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_element(key: str) -> bool:
    """Whether a path names one number of a list (`multipliers.0`)."""
    return key.rpartition(".")[2].isdigit()


def raised(expression: Expression, power: float) -> Expression | None:
    """An expression to a power; None for one value a layer."""
    if isinstance(expression, Const):
        return Const(expression.value**power)
    if isinstance(expression, Product):
        terms = tuple(Term(term.key, term.power * power) for term in expression.terms)
        return Product(terms, expression.constant**power)
    return None


def same(one: Any, other: Any) -> bool:
    """Equal, numbers within measuring noise."""
    if is_number(one) and is_number(other):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=1e-12)
    return type(one) is type(other) and bool(one == other)


def plain_key(a: Any, b: Any, toys: Toys, hints: Iterable[str] = ()) -> Product | None:
    """The key whose value is the fact's in both toys; hinted keys first; only they may be equal in both."""
    hinted = sorted((key for key in hints if key in toys.a and key in toys.b), key=lambda key: key not in toys.read)
    for key in (*hinted, *toys.keys):
        one, other = toys.a.get(key), toys.b.get(key)
        telling = key in hinted or not same(one, other)
        if telling and one is not None and same(a, one) and same(b, other):
            return Product((Term(key),))
    return None


def fit_number(
    a: float, b: float, toys: Toys, hints: Iterable[str] = (), ratio: tuple[str, str] | None = None
) -> Expression | None:
    """Simplest expression that gives `a` in the first toy and `b` in the second; None where there is none.

    Args:
        ratio: two keys whose quotient is tried before a constant (`hidden_size / num_attention_heads`, which may
            well be the same number in both toys).
    """
    if found := plain_key(a, b, toys, hints):
        return found
    if ratio is not None:
        quotient = Product((Term(ratio[0]), Term(ratio[1], -1.0)))
        if all(is_number(toy.get(key)) for toy in (toys.a, toys.b) for key in ratio) and (
            same(a, evaluate(quotient, toys.a)) and same(b, evaluate(quotient, toys.b))
        ):
            return quotient
    if rounded := fit_rounded(a, b, toys, hints):
        return rounded
    if same(a, b):
        return Const(a)
    if a <= 0 or b <= 0:
        return None
    return _product(a, b, toys) or fit_rounded_by_any(a, b, toys)


def _product(a: float, b: float, toys: Toys) -> Product | None:
    logs = [
        (key, math.log(toys.a[key]), math.log(toys.b[key]))
        for key in toys.keys
        if is_number(toys.a.get(key)) and is_number(toys.b.get(key)) and toys.a[key] > 0 and toys.b[key] > 0
    ]
    terms = [(key, power, power * one, power * other) for key, one, other in logs for power in POWERS]
    # A product of two keys is likelier than half of one of other two that happen to agree in both toys.
    for count, constants in ((1, CONSTANTS), (2, CONSTANTS[:1]), (2, CONSTANTS)):
        for chosen in itertools.combinations(terms, count):
            if len({term[0] for term in chosen}) < count:
                continue
            left_a = math.log(a) - sum(term[2] for term in chosen)
            left_b = math.log(b) - sum(term[3] for term in chosen)
            if abs(left_a - left_b) > TOLERANCE or not all(_varies(term) for term in chosen):
                continue
            constant = next((one for one in constants if abs(left_a - math.log(one)) < TOLERANCE), None)
            if constant is not None:
                return Product(tuple(Term(key, power) for key, power, _, _ in chosen), constant)
    return None


SHARES = (1.0, 2 / 3, 8 / 3, 4.0)
"""Widths over a key before they are rounded up: with gates, two thirds of what it is without."""


def fit_rounded(a: float, b: float, toys: Toys, hints: Iterable[str] = ()) -> Rounded | None:
    """A width that is rounded up to a multiple, by keys that are named like one; None where it is not."""
    multiples = [key for key in toys.keys if "multiple_of" in key]
    factors = [*(key for key in toys.keys if "multiplier" in key), None]
    choices = itertools.product(multiples, (*hints, *WIDTHS), factors, SHARES)
    return _first_rounded(a, b, toys, itertools.starmap(_rounding, choices))


def fit_rounded_by_any(a: float, b: float, toys: Toys) -> Rounded | None:
    """The same by whole numbers of any name, where the multiple is small: a large one would fit most widths."""
    whole = [key for key in toys.keys if key in toys.read and type(toys.a.get(key)) is int and not _equal(key, toys)]
    small = [key for key in whole if toys.a[key] * FINE <= a and toys.b[key] * FINE <= b]
    choices = itertools.product(small, (key for key in whole if toys.a[key] * 4 > a), (None,), SHARES[1:])
    return _first_rounded(a, b, toys, itertools.starmap(_rounding, choices))


FINE = 4
"""Multiples of a width that is rounded up to one."""


def _rounding(multiple: str, width: str, factor: str | None, share: float) -> Rounded:
    return Rounded(width, factor, multiple, share)


def _first_rounded(a: float, b: float, toys: Toys, choices: Iterable[Rounded]) -> Rounded | None:
    """The first that gives both numbers."""
    for found in choices:
        if found.multiple == found.width:
            continue
        try:
            if same(a, evaluate(found, toys.a)) and same(b, evaluate(found, toys.b)):
                return found
        except (KeyError, TypeError):
            continue
    return None


def _equal(key: str, toys: Toys) -> bool:
    """Whether a key has the same value in both toys, so that it could be any other."""
    return bool(toys.a.get(key) == toys.b.get(key))


def narrowed(value: float) -> float:
    """A number rounded to bfloat16, ties to even."""
    bits = int.from_bytes(struct.pack(">f", value), "big")
    bits += 0x7FFF + ((bits >> 16) & 1)
    return float(struct.unpack(">f", ((bits >> 16) << 16).to_bytes(4, "big"))[0])


def fit_narrowed(a: float, b: float, toys: Toys) -> Product | None:
    """A power of a width that gives both numbers once it is rounded to bfloat16; None where none does."""
    for width, power in itertools.product(WIDTHS, POWERS):
        found = Product((Term(width, power),))
        try:
            if same(a, narrowed(evaluate(found, toys.a))) and same(b, narrowed(evaluate(found, toys.b))):
                return found
        except (KeyError, TypeError):
            continue
    return None


def _varies(term: tuple[str, float, float, float]) -> bool:
    return abs(term[2] - term[3]) > TOLERANCE


def fit_layers(a: list[Any], b: list[Any], toys: Toys, hints: Iterable[str] = ()) -> Expression | None:
    """A value a layer, by a key that has one label a layer (`layer_types`)."""
    toys = replace(toys, keys=tuple(key for key in toys.keys if not is_element(key)))  # a list may be one a layer
    for key in ("layer_types", *toys.keys):
        labels_a, labels_b = toys.a.get(key), toys.b.get(key)
        if not _labels(labels_a, len(a)) or not _labels(labels_b, len(b)) or labels_a is None or labels_b is None:
            continue
        cases_a, cases_b = _cases(labels_a, a), _cases(labels_b, b)
        if cases_a is None or cases_b is None:
            continue
        cases = []
        for label in cases_a:
            if label not in cases_b:
                break
            value = _one_value(cases_a[label], cases_b[label], toys, hints)
            if value is None:
                break
            cases.append((label, value))
        else:
            return PerLayer(key, tuple(cases))
    return _fit_counted(a, b, toys, hints)


def _fit_counted(a: list[Any], b: list[Any], toys: Toys, hints: Iterable[str]) -> Chosen | None:
    """One of two values a layer, by counting layers."""
    layers = next((key for key in toys.keys if toys.a.get(key) == len(a) and toys.b.get(key) == len(b)), None)
    side_a, side_b = _two_sides(a), _two_sides(b)
    if layers is None or side_a is None or side_b is None:
        return None
    (flags_a, *values_a), (flags_b, *values_b) = side_a, side_b
    for turned in (False, True):
        rule = fit(
            [flag != turned for flag in flags_a],
            [flag != turned for flag in flags_b],
            (toys.a, toys.b),
            layers,
            toys.keys,
        )
        if rule is None:
            continue
        found = [_one_value(one, other, toys, hints) for one, other in zip(values_a, values_b, strict=True)]
        if None in found:
            return None
        first, rest = reversed(found) if turned else found
        return Chosen(rule, first, rest)  # type: ignore[arg-type]
    return None


def _two_sides(values: list[Any]) -> tuple[list[bool], Any, Any] | None:
    """(where the first value is, the first value, the other); None for more values, or one."""
    other = next((value for value in values if not same(value, values[0])), values[0])
    flags = [same(value, values[0]) for value in values]
    if all(flags) or any(not flag and not same(value, other) for flag, value in zip(flags, values, strict=True)):
        return None
    return flags, values[0], other


def _one_value(one: Any, other: Any, toys: Toys, hints: Iterable[str]) -> Const | Product | None:
    value = fit_number(one, other, toys, hints) if is_number(one) and is_number(other) else None
    if value is None and same(one, other):
        value = Const(one)
    return value if isinstance(value, (Const, Product)) else None


def _labels(value: Any, count: int) -> bool:
    return isinstance(value, list) and len(value) >= count and all(isinstance(one, (str, int, bool)) for one in value)


def _cases(labels: list[Any], values: list[Any]) -> dict[str, Any] | None:
    cases: dict[str, Any] = {}
    for label, value in zip(labels, values, strict=False):
        if str(label) in cases and not same(cases[str(label)], value):
            return None
        cases[str(label)] = value
    return cases


def evaluate(expression: Expression, attributes: Attributes, layers: int | None = None) -> Any:
    """The value of an expression for one config.

    Raises:
        KeyError: a key that the expression names is not there, or has no value.
    """
    if isinstance(expression, Const):
        return expression.value
    if isinstance(expression, LayerRule):
        return flags(expression, attributes, attributes[expression.layers] if layers is None else layers)
    if isinstance(expression, Chosen):
        rule = expression.rule
        holds = flags(rule, attributes, attributes[rule.layers] if layers is None else layers)
        yes, no = (evaluate(one, attributes) for one in (expression.yes, expression.no))
        return [yes if flag else no for flag in holds]
    if isinstance(expression, Rounded):
        return _rounded(expression, attributes)
    if isinstance(expression, PerLayer):
        labels = attributes[expression.key]
        cases = dict(expression.cases)
        chosen = labels if layers is None else labels[:layers]
        return [evaluate(cases[str(label)], attributes) for label in chosen]
    if len(expression.terms) == 1 and expression.terms[0].power == 1 and expression.constant == 1:
        return attributes[expression.terms[0].key]
    value = expression.constant
    for term in expression.terms:
        if not is_number(attributes.get(term.key)):
            raise KeyError(term.key)
        value *= attributes[term.key] ** term.power
    return value


def _rounded(expression: Rounded, attributes: Attributes) -> int:
    width = int(round(3 * expression.share) * attributes[expression.width] / 3)
    if expression.factor is not None:
        width = int(attributes[expression.factor] * width)
    multiple = int(attributes[expression.multiple])
    return -(-width // multiple) * multiple


def keys_of(expression: Expression | None) -> tuple[str, ...]:
    """The config keys that an expression reads."""
    if isinstance(expression, Product):
        return tuple(term.key for term in expression.terms)
    if isinstance(expression, LayerRule):
        return tuple(key for key in expression.keys if not key.isdigit())
    if isinstance(expression, Chosen):
        parts = (expression.rule, expression.yes, expression.no)
        return tuple(dict.fromkeys(key for part in parts for key in keys_of(part)))
    if isinstance(expression, Rounded):
        return tuple(key for key in (expression.width, expression.factor, expression.multiple) if key is not None)
    if isinstance(expression, PerLayer):
        inner = [key for _, case in expression.cases for key in keys_of(case)]
        return tuple(dict.fromkeys([expression.key, *inner]))
    return ()


def shown(expression: Expression | None) -> str:
    """An expression as people write it."""
    if expression is None:
        return "?"
    if isinstance(expression, Const):
        return repr(expression.value)
    if isinstance(expression, LayerRule):
        return f"{expression.rule} {', '.join(expression.keys)}"
    if isinstance(expression, Chosen):
        return f"{shown(expression.yes)} in {shown(expression.rule)}, else {shown(expression.no)}"
    if isinstance(expression, Rounded):
        factor = f" * {expression.factor}" if expression.factor else ""
        return f"{expression.share:g} * {expression.width}{factor}, up to a multiple of {expression.multiple}"
    if isinstance(expression, PerLayer):
        return f"by {expression.key}: " + ", ".join(f"{label} {shown(case)}" for label, case in expression.cases)
    parts = [] if expression.constant == 1 else [f"{expression.constant:g}"]
    parts += [term.key if term.power == 1 else f"{term.key}**{term.power:g}" for term in expression.terms]
    return " * ".join(parts)
