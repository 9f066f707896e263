"""Small questions about a blueprint that several rows ask."""

from __future__ import annotations

from typing import Any

from scaffold_tools.blueprint.facts import Blueprint, Const, Expression, PerLayer, Product, Term


def expression(blueprint: Blueprint, name: str) -> Expression | None:
    """How the value of a fact follows from the config, where that is known."""
    fact = blueprint.fact(name)
    return None if fact is None else fact.expression


def same(blueprint: Blueprint, one: str, other: str) -> bool:
    """Whether two facts are the same by construction, not by a coincidence of this checkpoint's numbers."""
    first, second = blueprint.fact(one), blueprint.fact(other)
    if first is None or second is None:
        return True  # nothing says that they differ
    if first.expression is not None and second.expression is not None:
        return first.expression == second.expression
    return first.value == second.value


def has(blueprint: Blueprint, role: str, param: str | None = None) -> bool:
    """Whether any tensor has this role (and is its weight or bias, where `param` says so)."""
    return any(row.role == role and param in (None, row.param) for row in blueprint.roles)


def is_moe(blueprint: Blueprint) -> bool:
    """Whether some layer routes tokens to experts."""
    return any(row.role.startswith("moe.") for row in blueprint.roles)


def is_number(value: Any) -> bool:
    """A real number; bools are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def differs_from(blueprint: Blueprint, name: str, neutral: float) -> bool:
    """Whether a scalar fact is not neutral, or could be in another checkpoint of the family."""
    fact = blueprint.fact(name)
    if fact is None or not is_number(fact.value):
        return False
    if fact.value != neutral:
        return True
    return isinstance(fact.expression, Product) and bool(fact.expression.terms)


def per_layer_choice(blueprint: Blueprint, flags: tuple[int, ...]) -> PerLayer | None:
    """The per-layer config key whose labels decide `flags`, as an expression; None where no key does.

    With `layer_types = [sliding, sliding, full, ...]` and flags set on the full layers this is
    `[{sliding: 0, full: 1}[kind] for kind in layer_types]`.
    """
    for use in blueprint.keys:
        labels = use.value
        if not isinstance(labels, (list, tuple)) or len(labels) != len(flags):
            continue
        cases: dict[str, int] = {}
        if not all(isinstance(label, (str, int)) for label in labels):
            continue
        if all(cases.setdefault(str(label), flag) == flag for label, flag in zip(labels, flags, strict=True)):
            return PerLayer(use.key, tuple((label, Const(flag)) for label, flag in sorted(cases.items())))
    return None


def key(path: str) -> Product:
    """The plain config key as an expression."""
    return Product((Term(path),))
