"""Facts of experts that are more than one measured number: which layers, and whose keys they account for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from scaffold_tools.blueprint.expressions import (
    Toys,
    evaluate,
    fit_layers,
    fit_number,
    is_number,
    plain_key,
    shown,
)
from scaffold_tools.blueprint.facts import Const, Expression, Fact, Gap, Product, TensorRole, Term
from scaffold_tools.blueprint.layer_rules import SORTS, fit
from scaffold_tools.blueprint.measured import Draft, toys_of
from scaffold_tools.classify.evidence import Evidence

CHOICES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("moe.score", "scoring_func", ("softmax", "sigmoid", "sqrtsoftplus")),
    ("moe.score", "score_func", ("softmax", "sigmoid", "sqrtsoftplus")),
    ("moe.score", "expert_selection_fn", ("softmax", "sigmoid")),
    ("moe.output_factor", "shared_expert_combination_strategy", ("sum", "average")),
    ("moe.groups", "topk_method", ("greedy", "group_limited_greedy", "noaux_tc")),
)
"""(fact, key, known words): string keys that the measured fact accounts for. What they say is not believed."""

DENSE_FACTS = frozenset({"ffn_hidden_size"})
"""Facts that only layers without experts show."""

OWN_FACTS = frozenset({"moe.shared_width"})
"""Facts of experts that are derived here."""

SHARED_COUNTS = ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts", "num_shared_expert")
SHARED_WIDTHS = ("shared_expert_intermediate_size", "shared_intermediate_size", "moe_shared_expert_intermediate_size")
EXPERT_WIDTHS = ("moe_intermediate_size", "expert_ffn_hidden_size", "intermediate_size")

COUNT_KEYS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")

LAYER_COUNTS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")


def has_experts(answer: Mapping[str, Any]) -> bool:
    """Whether some layer of both toys routes tokens to experts."""
    return all("moe.layers" in answer["variants"][name]["facts"] for name in ("a", "b"))


def without_dense(answer: Mapping[str, Any]) -> bool:
    """Whether no layer of the toys has a plain MLP, so that nothing shows its width."""
    return has_experts(answer) and all(answer["variants"][name]["facts"]["moe.layers"] is True for name in ("a", "b"))


def derive_moe_layers(answer: Mapping[str, Any], draft: Draft) -> None:
    """`moe.layers` (one flag a layer), and the config keys that the facts of experts account for."""
    if not has_experts(answer):
        return
    toys = toys_of(answer)
    seen = [answer["variants"][name]["facts"]["moe.layers"] for name in ("a", "b")]
    counts = [answer["variants"][name]["facts"]["num_layers"] for name in ("a", "b")]
    layers_a, layers_b = (_listed(one, count) for one, count in zip(seen, counts, strict=True))
    expression = _expression(layers_a, layers_b, toys, draft)
    real, count = answer["real"], draft.value("num_layers")
    try:
        value = None if expression is None or count is None else evaluate(expression, real, count)
    except (KeyError, TypeError):
        value = None
    if value is None:
        where = answer["variants"]["a"].get("where", {}).get("moe.layers")
        text = f"layers with experts are {layers_a} and {layers_b} in the toys; no config key says so"
        draft.gaps.append(Gap("moe.layers", text, hf_source=where, write_what="moe_layer_freq of the provider"))
        return
    flags = [True] * count if value is True else [bool(one) for one in value]
    said = "every layer" if expression == Const(True) else shown(expression)
    evidence = (Evidence("probe", f"measured {layers_a} and {layers_b} in the two toys"), Evidence("key", said))
    draft.facts.append(Fact("moe.layers", flags, "measured", evidence, expression))
    _account(answer, draft)


def derive_shared_width(answer: Mapping[str, Any], draft: Draft) -> None:
    """`moe.shared_width`: a key of its own, or the width of one expert times the number of shared ones.

    These are tried before other products: sizes of toys are small, and products of two of them often agree.
    """
    seen = [answer["variants"][name]["facts"].get("moe.shared_width") for name in ("a", "b")]
    if not has_experts(answer) or None in seen:
        return
    toys = toys_of(answer)
    expression: Expression | None = Const(0) if seen == [0, 0] else plain_key(seen[0], seen[1], toys, SHARED_WIDTHS)
    if expression is None or (expression != Const(0) and expression.terms[0].key not in SHARED_WIDTHS):  # type: ignore[union-attr]
        expression = _width_times_count(seen, toys) or expression or fit_number(seen[0], seen[1], toys)
    try:
        value = None if expression is None else round(evaluate(expression, answer["real"]))
    except (KeyError, TypeError):
        value = None
    if expression is None or value is None:
        text = f"measured {seen[0]} and {seen[1]} in the two toys; no config key or product of keys gives both"
        draft.gaps.append(Gap("moe.shared_width", text, write_what="how the value follows from the config"))
        return
    for key in (*SHARED_COUNTS, *SHARED_WIDTHS, "shared_expert_combination_strategy"):
        if value == 0 and not answer["real"].get(key, 0):
            draft.aliases.setdefault(key, "moe.shared_width")
        elif value == 0 and isinstance(answer["real"].get(key), str):
            draft.aliases.setdefault(key, "moe.shared_width")  # how shared experts are added, where there are none
    evidence = (
        Evidence("probe", f"measured {seen[0]} and {seen[1]} in the two toys"),
        Evidence("key", f"{shown(expression)} gives these values"),
    )
    draft.facts.append(Fact("moe.shared_width", value, "measured", evidence, expression))


def _width_times_count(seen: list[int], toys: Toys) -> Product | None:
    for width in EXPERT_WIDTHS:
        for count in SHARED_COUNTS:
            keys = (width, count)
            values: list[list[Any]] = [[toy.get(key) for key in keys] for toy in (toys.a, toys.b)]
            if any(not is_number(value) for pair in values for value in pair):
                continue
            if all(math.prod(pair) == wanted for pair, wanted in zip(values, seen, strict=True)):
                return Product(tuple(Term(key) for key in keys))
    return None


def _listed(value: Any, count: int) -> list[bool]:
    return list(value["per_layer"]) if isinstance(value, dict) else [bool(value)] * count


def _expression(a: list[bool], b: list[bool], toys: Toys, draft: Draft) -> Expression | None:
    if all(a) and all(b):
        return Const(True)
    count = next((fact for fact in draft.facts if fact.name == "num_layers"), None)
    key = count.expression.terms[0].key if count and isinstance(count.expression, Product) else LAYER_COUNTS[0]
    return fit(a, b, (toys.a, toys.b), key) or fit_layers(a, b, toys)


def _account(answer: Mapping[str, Any], draft: Draft) -> None:
    """Keys whose effect the measured layers and formulas hold, whatever way the code uses them."""
    real = answer["real"]
    _count_keys(answer, draft)
    for keys in SORTS.values():
        for key in keys:
            if key in real:
                draft.aliases.setdefault(key, "moe.layers")
    for fact, key, words in CHOICES:
        if real.get(key) in words and draft.value(fact) is not None:
            draft.aliases.setdefault(key, fact)


def _count_keys(answer: Mapping[str, Any], draft: Draft) -> None:
    """Keys that repeat the number of experts: code may size the router by one and the experts by another.

    A checkpoint where they differ has no such model; there the key stays unaccounted.
    """
    count = draft.value("moe.num_experts")
    if count is None:
        return
    toys = [answer["variants"][name] for name in ("a", "b")]
    for key in COUNT_KEYS:
        repeats = all(toy["attributes"].get(key) == toy["facts"].get("moe.num_experts") for toy in toys)
        if repeats and answer["real"].get(key) == count:
            draft.aliases.setdefault(key, "moe.num_experts")


STORED_SIZES: tuple[tuple[str, str, int], ...] = (
    ("moe.num_experts", "moe.router", 0),
    ("moe.shared_width", "moe.shared.up", 0),
    ("moe.shared_width", "moe.shared.gate", 0),
)
"""(fact, role, axis of its weight): sizes that the checkpoint states as well."""


def _check_size(name: str, role: str, axis: int, roles: tuple[TensorRole, ...], draft: Draft) -> None:
    row = next((one for one in roles if one.role == role and one.param == "weight" and not one.packing), None)
    value = draft.value(name)
    if row is None or not row.shape or value is None or row.transposed or row.shape[axis] == value:
        return
    draft.gaps.append(
        Gap(
            name,
            f"the config gives {value}, {row.pattern} in the checkpoint has {list(row.shape)}",
            write_what="how the value follows from the config",
            check="scaffold verify with the real config",
        )
    )


def check_layers(roles: tuple[TensorRole, ...], draft: Draft) -> None:
    """The layers with experts are those whose router is in the checkpoint; else the tensors win, as a gap."""
    fact = next((one for one in draft.facts if one.name == "moe.layers"), None)
    router = next((row for row in roles if row.role == "moe.router" and row.param == "weight"), None)
    if fact is None or router is None or router.layers is None or not router.shape:  # no tensor table
        return
    for name, role, axis in STORED_SIZES:
        _check_size(name, role, axis, roles, draft)
    stored = set(router.layers)
    derived = {layer for layer, flag in enumerate(fact.value) if flag}
    if stored != derived:
        odd = sorted(stored ^ derived)
        draft.gaps.append(
            Gap(
                "moe.layers",
                f"the config gives experts to other layers than the checkpoint does: they differ in {odd[:8]}",
                write_what="moe_layer_freq of the provider",
                check="import.hf_consumed",
            )
        )
