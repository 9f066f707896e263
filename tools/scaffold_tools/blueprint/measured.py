"""Measured values of two toys to facts: value for the real model, expression over the config, evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from scaffold_tools.blueprint.expressions import (
    Toys,
    evaluate,
    fit_layers,
    fit_narrowed,
    fit_number,
    is_number,
    keys_of,
    plain_key,
    raised,
    same,
    shown,
)
from scaffold_tools.blueprint.facts import Const, Expression, Fact, Gap, Product, Term
from scaffold_tools.blueprint.rules import CURVES, OWN, RULES, FactRule
from scaffold_tools.classify.evidence import Evidence

SOME_MODELS = (
    *("qk_norm.", "attention.sinks", "mla.", "moe.", "delta.", "mamba.", *(f"{kind}." for kind in OWN)),
    *(
        "norm.before_head",
        "norm.final.eps",
        "norm.pre_attn.layers",
        "norm.pre_mlp.layers",
        "head.activation",
        "bias.o.layers",
    ),
    *("residual.after_norm", "residual.attn.", "residual.mixer.", "residual.mlp."),
    *("attention.key_bias", "attention.keep", "attention.difference"),
    *("mlp.layers", "mixer.layers", "position.", "attention.temperature", "attention.selection", "indexer."),
    *("attention.input_multiplier", "attention.output_multiplier", "mlp.gate_multiplier", "mlp.output_multiplier"),
    *("attention.chunk", "attention.gate", "mlp.activation.beta", "mlp.clamp", "mlp.up_offset"),
)
"""Beginnings of facts that only some models have."""
NOISE = ("rope_", "vision_config", "audio_config")


@dataclass
class Draft:
    """Facts being derived, with what is still open."""

    facts: list[Fact] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    """Config keys that a fact accounts for without an expression over them."""

    def value(self, name: str) -> Any:
        """The value of a fact drafted so far."""
        return next((fact.value for fact in self.facts if fact.name == name), None)


def toys_of(answer: Mapping[str, Any]) -> Toys:
    """Attributes of both toys; keys that the code reads come first, those of other subjects not at all."""
    a, b = answer["variants"]["a"], answer["variants"]["b"]
    aliases = {name: alias for alias, name in a.get("aliases", {}).items()}
    named = [one for key in a["reads"] for one in (aliases.get(key), key) if one is not None]  # the field's word first
    reads = [key for key in named if key in a["attributes"]]
    rest = [key for key in a["attributes"] if key not in reads and "." not in key]
    nested = [key for key in a["attributes"] if "." in key and not key.startswith(NOISE)]
    keys = [
        key for key in (*reads, *rest, *nested) if not key.endswith(("_token_id", "_token_ids")) and key != "id2label"
    ]
    return Toys(a["attributes"], b["attributes"], tuple(dict.fromkeys(keys)), frozenset(reads))


def derive_facts(answer: Mapping[str, Any], draft: Draft, elsewhere: frozenset[str] = frozenset()) -> None:
    """One fact for each rule whose measurement came out in both toys; a gap for those that did not.

    `elsewhere` are facts that are derived in another way for this model.
    """
    toys = toys_of(answer)
    a, b = answer["variants"]["a"], answer["variants"]["b"]
    failed = {entry["subject"] for entry in (*a["failures"], *b["failures"])}
    for rule in RULES:
        if rule.name in elsewhere:
            continue
        if rule.name not in a["facts"] or rule.name not in b["facts"]:
            if rule.name not in failed and not rule.name.startswith(SOME_MODELS) and "structure" not in failed:
                draft.gaps.append(Gap(rule.name, "not measured", check="scaffold inspect"))
            continue
        fact = _fact(rule, answer, toys, draft)
        if fact is not None:
            draft.facts.append(fact)


def _fact(rule: FactRule, answer: Mapping[str, Any], toys: Toys, draft: Draft) -> Fact | None:
    a, b, real = answer["variants"]["a"], answer["variants"]["b"], answer["real"]
    one, other = a["facts"][rule.name], b["facts"][rule.name]
    expression = _expression(rule, answer["variants"], toys, draft)
    if expression is None:
        where = a.get("where", {}).get(rule.name)
        draft.gaps.append(_unexplained(rule.name, one, other, where))
        return None
    rival = _rival(expression, toys, real)
    if rival is not None:
        reason = f"{rival} are one number in each toy, and two in the model: it may be either"
        draft.gaps.append(Gap(rule.name, reason, check="scaffold inspect"))
        return None
    try:
        value = evaluate(expression, real, draft.value("num_layers"))
    except (KeyError, TypeError) as error:
        draft.gaps.append(
            Gap(rule.name, f"follows {shown(expression)} in the toys, but the real config has no such value ({error})")
        )
        return None
    if rule.kind == "int" and is_number(value):
        value = round(value)
    if rule.kind == "layers":
        value = _per_layer_value(value, draft.value("num_layers"))
    evidence = [_measured(rule.name, one, other, a), *_key_evidence(rule, expression, real, one, draft)]
    return Fact(rule.name, value, "measured", tuple(evidence), expression)


def _rival(expression: Expression, toys: Toys, real: Mapping[str, Any]) -> str | None:
    """Two keys of unknown names that the toys cannot tell apart although the model can; None where all is told."""
    usual = {hint for rule in RULES for hint in rule.hints}
    for key in keys_of(expression):
        for other in sorted(toys.read - usual - {key}) if key not in usual else ():
            twins = all(is_number(one.get(key)) and same(one[key], one.get(other)) for one in (toys.a, toys.b))
            if twins and is_number(real.get(other)) and not same(real.get(key), real[other]):
                return f"{key} and {other}"
    return None


def _expression(rule: FactRule, variants: Mapping[str, Any], toys: Toys, draft: Draft) -> Expression | None:
    a, b = variants["a"], variants["b"]
    one, other = a["facts"][rule.name], b["facts"][rule.name]
    if _layered(one) or _layered(other):
        layers_a, layers_b = _as_layers(one, a), _as_layers(other, b)
        return fit_layers(layers_a, layers_b, toys, rule.hints) if layers_a and layers_b else None
    if isinstance(one, bool) and isinstance(other, bool):
        return _flag(rule, one, other, toys, a)
    if is_number(one) and is_number(other):
        found = fit_number(one, other, toys, rule.hints, _quotient(rule, draft))
        if found is None and rule.name == "embedding.multiplier":
            return _narrowed(one, other, toys, draft)
        by_head = rule.name == "attention.scale" or (rule.name == "position.alibi.multiplier" and not same(one, 1.0))
        plain = isinstance(found, Product) and found.constant == 1.0
        if by_head and not plain:
            return _from_head_dim(one, other, toys, draft) or found
        return found
    return Const(one) if same(one, other) else None


def _narrowed(one: float, other: float, toys: Toys, draft: Draft) -> Expression | None:
    """A factor that code keeps in bfloat16, with the fact that says so."""
    found = fit_narrowed(one, other, toys)
    if found is not None:
        evidence = Evidence("probe", f"{one} and {other} in the toys are {shown(found)} in bfloat16")
        draft.facts.append(Fact("embedding.rounded", True, "measured", (evidence,), Const(True)))
    return found


def _quotient(rule: FactRule, draft: Draft) -> tuple[str, str] | None:
    """The keys of width and heads, for the fact that is their quotient where no key names it."""
    if rule.name != "head_dim":
        return None
    found = [
        fact.expression for name in ("hidden_size", "num_attention_heads") for fact in draft.facts if fact.name == name
    ]
    keys = [one.terms[0].key for one in found if isinstance(one, Product) and len(one.terms) == 1]
    return (keys[0], keys[1]) if len(keys) == 2 else None


def _from_head_dim(one: float, other: float, toys: Toys, draft: Draft) -> Expression | None:
    """1/sqrt(head_dim), or that times a key: both toys may have the same head_dim, and a constant in its place."""
    fact = next((fact for fact in draft.facts if fact.name == "head_dim"), None)
    if fact is None or fact.expression is None or isinstance(fact.expression, Const):
        return None
    found = raised(fact.expression, -0.5)
    if found is None:
        return None
    rest = (one / evaluate(found, toys.a), other / evaluate(found, toys.b))
    if same(rest[0], 1.0) and same(rest[1], 1.0):
        return found
    factor = plain_key(*rest, toys)
    if factor is None or not isinstance(found, Product):
        return None
    return replace(found, terms=(*found.terms, *factor.terms))


def _layered(value: Any) -> bool:
    return isinstance(value, dict) and "per_layer" in value


def _as_layers(value: Any, variant: Mapping[str, Any]) -> list[Any]:
    return list(value["per_layer"]) if _layered(value) else [value] * int(variant["facts"]["num_layers"])


def _flag(rule: FactRule, one: bool, other: bool, toys: Toys, a: Mapping[str, Any]) -> Expression | None:
    """A flag of the config, if flipping it flips the fact and it says what the fact says."""
    if one != other:
        return None
    for key, flip in a.get("flips", {}).items():
        flipped = flip["facts"].get(rule.name)
        if isinstance(flipped, bool) and flipped != one and toys.a.get(key) is one:
            return Product((Term(key),))
    if rule.name == "tied_embeddings":
        for key in rule.hints:
            if toys.a.get(key) is one and toys.b.get(key) is one:
                return Product((Term(key),))
    return Const(one)


def _per_layer_value(value: Any, layers: Any) -> Any:
    if isinstance(value, list):
        return value
    return [value] * layers if isinstance(layers, int) else value


def _measured(name: str, one: Any, other: Any, a: Mapping[str, Any]) -> Evidence:
    where = a.get("where", {}).get(name)
    place = f"; {where}" if where else ""
    return Evidence("probe", f"measured {_short(one)} and {_short(other)} in the two toys{place}")


def _short(value: Any) -> str:
    text = str(value["per_layer"]) if _layered(value) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _key_evidence(
    rule: FactRule, expression: Expression, real: Mapping[str, Any], one: Any, draft: Draft
) -> list[Evidence]:
    """What the config says; where it says something else than the code does, a note."""
    found: list[Evidence] = []
    if getattr(expression, "op", "") != "const":
        found.append(Evidence("key", f"{shown(expression)} gives these values"))
        return found
    for key in rule.hints:
        declared = real.get(key)
        if rule.name in ("mlp.activation", "head.activation") and isinstance(declared, str):
            draft.aliases[key] = rule.name
            found.append(Evidence("key", f"{key} is {declared!r}"))
            if CURVES.get(declared) != one:
                draft.notes.append(f"config lies: {key} is {declared!r}, the code computes {one}")
        elif isinstance(declared, bool) and isinstance(one, bool) and declared != one:
            draft.notes.append(f"config lies: {key} is {declared}, measured {rule.name} is {one}")
    return found


def _unexplained(name: str, one: Any, other: Any, where: str | None) -> Gap:
    return Gap(
        name,
        f"measured {_short(one)} and {_short(other)} in the two toys; no config key or product of keys gives both",
        hf_source=where,
        write_what="how the value follows from the config",
        check="logits.max_abs on both toys",
    )


def stored_positions(answer: Mapping[str, Any]) -> Fact | None:
    """`max_position_embeddings` from the rows of a learned table, where the key has a name of its own."""
    facts = [answer["variants"][name]["facts"] for name in ("a", "b")]
    rows = [one.get("position.rows") for one in facts]
    if None in rows:
        return None
    counts = [row - (one.get("position.offset") or 0) for row, one in zip(rows, facts, strict=True)]
    found = plain_key(counts[0], counts[1], toys_of(answer))
    if found is None or not is_number(answer["real"].get(found.terms[0].key)):
        return None
    evidence = (Evidence("probe", f"the table has {rows[0]} and {rows[1]} rows in the two toys"),)
    return Fact("max_position_embeddings", answer["real"][found.terms[0].key], "measured", evidence, found)


def declared_number(name: str, keys: tuple[str, ...], real: Mapping[str, Any]) -> Fact | None:
    """A number that the config states and nothing measures (`max_position_embeddings`)."""
    for key in keys:
        if is_number(real.get(key)):
            evidence = (Evidence("key", f"{key} is {real[key]}"),)
            return Fact(name, real[key], "declared", evidence, Product((Term(key),)))
    return None
