"""Flags of a config that bring tensors along or take them away, measured both ways on the toy.

A config says which way a flag is in one model; other sizes of the family may have it the other way round (one size
norms queries and keys and another does not), and code for the family has to be right for them too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scaffold_tools.blueprint.expressions import same
from scaffold_tools.blueprint.facts import Const, Expression, Fact, Product, Switch, TensorRole, Term
from scaffold_tools.blueprint.roles import derive_roles
from scaffold_tools.blueprint.rules import RULES
from scaffold_tools.classify.evidence import Evidence


def derive_switches(
    answer: Mapping[str, Any], facts: Sequence[Fact], roles: Sequence[TensorRole]
) -> tuple[Switch, ...]:
    """One for each flag whose other value was understood whole: all that changes is known facts, tensors with roles.

    None of a flag that changes what stays (shapes, other names), and none where the checkpoint names its tensors
    otherwise than the class does: the names of those that would come are not known then.
    """
    a = answer["variants"]["a"]
    layers = next((fact.value for fact in facts if fact.name == "num_layers"), None)
    own = derive_roles(dict(a), None, layers).rows
    if not {row.pattern for row in own} <= {row.pattern for row in roles}:
        return ()
    found = []
    for key, flip in a.get("flips", {}).items():
        switch = _switch(key, flip, a, facts, layers)
        if switch is not None:
            found.append(switch)
    return tuple(found)


def _switch(
    key: str, flip: Mapping[str, Any], a: Mapping[str, Any], facts: Sequence[Fact], layers: int | None
) -> Switch | None:
    tensors = flip.get("tensors", {})
    known = {entry["subject"] for entry in a["failures"]}
    failed = any(entry["subject"] not in known for entry in flip["failures"])
    if tensors.get("change") not in ("more", "fewer") or tensors.get("unknown") or failed or "." in key:
        return None
    names = {**a["facts"], **flip["facts"]}
    changed = [name for name in names if a["facts"].get(name) != flip["facts"].get(name)]
    if not set(changed) <= {rule.name for rule in RULES}:
        return None
    others = []
    for name in changed:
        if name not in flip["facts"]:
            continue
        expression = _expression(name, (key, flip), a, facts)
        if expression is None:
            return None
        evidence = Evidence("probe", f"measured in the toy with {key} {flip['value']}")
        value = _value(expression, name, flip, facts)
        others.append(Fact(name, value, "measured", (evidence,), expression))
    absent = tuple(name for name in changed if name not in flip["facts"])
    rows = derive_roles(dict(tensors), None, layers).rows
    return Switch(key, flip["value"], tuple(others), absent, rows)


def _expression(
    name: str, flag: tuple[str, Mapping[str, Any]], a: Mapping[str, Any], facts: Sequence[Fact]
) -> Expression | None:
    """How a fact's other value follows: from the flag, as a word, or from what another fact of this number does."""
    key, flip = flag
    was, value = a["facts"].get(name), flip["facts"][name]
    if isinstance(value, bool):
        follows = isinstance(was, bool) and value is flip["value"] and was is not value
        return Product((Term(key),)) if follows else Const(value)
    if isinstance(value, str) or value is None:
        return Const(value)
    twins = (fact for fact in facts if value not in (0, 1) and same(a["facts"].get(fact.name), value))
    return next((fact.expression for fact in twins if isinstance(fact.expression, Product)), None)


def _value(expression: Expression, name: str, flip: Mapping[str, Any], facts: Sequence[Fact]) -> Any:
    """The value in a model of this size: of a number, that of the fact which it follows."""
    measured = flip["facts"][name]
    if isinstance(measured, bool | str) or measured is None:
        return measured
    return next(fact.value for fact in facts if fact.expression == expression)
