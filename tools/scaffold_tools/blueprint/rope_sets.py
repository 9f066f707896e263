"""The rotary facts: which settings of the config give each measured table, and which layers use it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from scaffold_tools.blueprint.expressions import Toys, evaluate, fit_layers, fit_number, is_number, plain_key, raised
from scaffold_tools.blueprint.facts import Const, Expression, Fact, Gap, Product, Term
from scaffold_tools.blueprint.measured import Draft, toys_of
from scaffold_tools.blueprint.rope import Setting, agrees, base_table, table
from scaffold_tools.classify.evidence import Evidence

ROPE_KEYS = ("rope_parameters", "rope_scaling", "rope_theta")
ORIGINAL = "original_max_position_embeddings"
LENGTH = {"a": 37, "b": 31}
"""Tokens in the probe's sequences (harness `toys/toy.SEQUENCE_LENGTH`); longer than any toy's original length."""


def derive_rope(answer: Mapping[str, Any], draft: Draft) -> None:
    """Facts `rope.*` and `position.kind`."""
    found = {name: _per_layer(answer["variants"][name]) for name in ("a", "b")}
    measured = {name: layers for name, layers in found.items() if layers is not None}
    if len(measured) < 2:
        return
    learned = any(row["role"] == "embed.positions" for row in answer["variants"]["a"]["roles"])
    turning = {name: [one for one in layers if one is not None] for name, layers in measured.items()}
    failed = {entry["subject"] for entry in answer["variants"]["a"]["failures"]}
    if "position.kind" not in failed:
        alibi = all(answer["variants"][name]["facts"].get("alibi") is True for name in ("a", "b"))
        sinusoid = "position.sinusoid" in answer["variants"]["a"]["facts"]
        absolute = "learned" if learned else "sinusoidal" if sinusoid else "none"
        kind = "rope" if turning["a"] else "alibi" if alibi else absolute
        if kind in ("rope", "alibi") and absolute != "none":
            draft.gaps.append(Gap("position.kind", f"{absolute} positions on top of {kind}"))
        _const(draft, "position.kind", kind, "queries and keys before and after", answer)
    if not turning["a"]:
        draft.aliases |= dict.fromkeys(ROPE_KEYS, "position.kind")
        return
    _shape(draft, turning, answer)
    sets = _sets(measured, answer, draft)
    if sets is not None:
        draft.facts.append(sets)
        draft.aliases |= dict.fromkeys(_switches(measured, answer), "rope.sets")


def _per_layer(variant: Mapping[str, Any]) -> list[Any] | None:
    if "rope" not in variant["facts"]:
        return None
    value = variant["facts"]["rope"]
    if isinstance(value, dict) and "per_layer" in value:
        return list(value["per_layer"])
    return [value] * int(variant["facts"]["num_layers"])


def _switches(measured: Mapping[str, list[Any]], answer: Mapping[str, Any]) -> list[str]:
    """Keys with one number a layer that is not zero in exactly the layers that rotate, in both toys.

    A config may say twice which layers have no positions; the labels that `rope.sets` follows are one of the ways.
    """
    found = []
    for key in answer["variants"]["a"]["attributes"]:
        listed = {name: answer["variants"][name]["attributes"].get(key) for name in measured}
        if all(
            isinstance(values, list)
            and all(type(value) in (int, bool) for value in values)
            and [bool(value) for value in values] == [one is not None for one in measured[name]]
            and len(set(values)) > 1
            for name, values in listed.items()
        ):
            found.append(key)
    return found


def _const(draft: Draft, name: str, value: Any, what: str, answer: Mapping[str, Any]) -> None:
    where = answer["variants"]["a"].get("where", {}).get("rope")
    detail = f"measured from {what}" + (f"; {where}" if where else "")
    draft.facts.append(Fact(name, value, "measured", (Evidence("probe", detail),), Const(value)))


def _shape(draft: Draft, turning: Mapping[str, list[Any]], answer: Mapping[str, Any]) -> None:
    pairings = {one["pairing"] for layers in turning.values() for one in layers}
    if len(pairings) == 1:
        _const(draft, "rope.pairing", pairings.pop(), "which dimensions mix", answer)
    else:
        draft.gaps.append(Gap("rope.pairing", f"differs between layers: {sorted(pairings)}"))
    turns = {one.get("reversed", False) for layers in turning.values() for one in layers}
    if len(turns) == 1:
        _const(draft, "rope.reversed", turns.pop(), "the sense of the rotation", answer)
    else:
        draft.gaps.append(Gap("rope.reversed", "layers rotate in both senses"))
    dims = {name: {one["dim"] for one in layers} for name, layers in turning.items()}
    if any(len(found) > 1 for found in dims.values()):
        seen = f"layers rotate {' or '.join(map(str, sorted(dims['a'])))} dimensions of a head in a toy"
        draft.gaps.append(
            Gap(
                "rope.dim",
                f"{seen}; the decoder of megatron-core hands one rotary table, of one width, to all layers",
                hf_source=answer["variants"]["a"].get("where", {}).get("rope"),
                write_what="a rotary embedding for each kind of layer, in the attention of the modeling module",
                check="logits.max_abs",
            )
        )
        return
    one, other = dims["a"].pop(), dims["b"].pop()
    share = [dim / answer["variants"][name]["facts"]["head_dim"] for name, dim in (("a", one), ("b", other))]
    real, toys = answer["real"], toys_of(answer)
    heads = [answer["variants"][name]["facts"]["head_dim"] for name in ("a", "b")]
    fraction: Expression | None = Const(1.0) if share == [1.0, 1.0] else _fraction(share, heads, toys)
    if fraction is None and (dims_key := fit_number(one, other, toys, ("rotary_dim",))) is not None:
        value = float(evaluate(dims_key, real)) / int(draft.value("head_dim"))
        _add(draft, "rope.dim", round(evaluate(dims_key, real)), dims_key, one, other)
        _add(draft, "rope.fraction", value, _over_head_dim(dims_key, draft), *share)
        return
    if fraction is None:
        draft.gaps.append(Gap("rope.fraction", f"{share[0]:.4f} and {share[1]:.4f} of a head rotate; no key says so"))
        return
    value = float(evaluate(fraction, real))
    _add(draft, "rope.fraction", value, fraction, *share)
    _add(draft, "rope.dim", int(int(draft.value("head_dim")) * value), None, one, other)


def _over_head_dim(dims: Expression, draft: Draft) -> Expression | None:
    """Rotated dimensions as a share of the head, over the config keys of both."""
    fact = next((fact for fact in draft.facts if fact.name == "head_dim"), None)
    inverse = None if fact is None or fact.expression is None else raised(fact.expression, -1.0)
    if not isinstance(inverse, Product):
        return None
    if isinstance(dims, Const):
        return Product(inverse.terms, inverse.constant * dims.value)
    return (
        Product((*dims.terms, *inverse.terms), dims.constant * inverse.constant) if isinstance(dims, Product) else None
    )


def _fraction(share: list[float], heads: list[int], toys: Toys) -> Expression | None:
    keys = ("rope_parameters.partial_rotary_factor", "partial_rotary_factor", "rotary_pct", "rotary_percent")
    nested = tuple(key for key in toys.a if key.endswith(".partial_rotary_factor"))
    if found := plain_key(share[0], share[1], toys, (*keys, *nested)):
        return found
    for key in toys.keys:  # code truncates: int(head_dim * share)
        shares = [float(one) for toy in (toys.a, toys.b) if isinstance(one := toy.get(key), float) and 0 < one < 1]
        if len(shares) < 2:
            continue
        if all(int(dim * one) == round(dim * real) for dim, one, real in zip(heads, shares, share, strict=True)):
            return Product((Term(key),))
    return None


def _add(draft: Draft, name: str, value: Any, expression: Expression | None, *seen: Any) -> None:
    evidence = (Evidence("probe", f"measured {seen[0]} and {seen[1]} in the two toys"),)
    draft.facts.append(Fact(name, value, "measured", evidence, expression))


def _sets(measured: Mapping[str, list[Any]], answer: Mapping[str, Any], draft: Draft) -> Fact | None:
    """`rope.sets`: each distinct table with the settings it comes from, and the layers that use it."""
    origins: dict[str, list[Any]] = {}
    for name, layers in measured.items():
        variant = answer["variants"][name]
        origins[name] = [None if one is None else _origin(one, variant, LENGTH[name]) for one in layers]
    both = set(map(str, origins["a"])) | set(map(str, origins["b"]))
    unknown = [one for layers in origins.values() for one in layers if one == "unknown"]
    if unknown:
        where = answer["variants"]["a"].get("where", {}).get("rope")
        rotation = next(one for one in measured["a"] if one is not None)
        draft.gaps.append(
            Gap(
                "rope.sets",
                f"no rope settings of the config give the measured frequencies {rotation['inv_freq'][:3]}...",
                hf_source=where,
                write_what="the formula of the inverse frequencies",
                check="logits.max_abs",
            )
        )
        return None
    labels = [origin for origin in dict.fromkeys(one for layers in origins.values() for one in layers) if origin]
    expression = _which(origins, labels, toys_of(answer))
    count = int(draft.value("num_layers") or len(origins["a"]))
    if expression is None:
        draft.gaps.append(Gap("rope.sets", f"which layers use which of {sorted(both)} follows no config key"))
        return None
    real_layers = evaluate(expression, answer["real"], count)
    per_layer = real_layers if isinstance(real_layers, list) else [real_layers] * count
    sets = [_real_set(label, index, per_layer, answer, draft) for index, label in enumerate(labels)]
    for label in labels:
        for key in label.split(":")[-1].split("/"):
            draft.aliases[key.split(".")[0]] = "rope.sets"
    draft.aliases |= dict.fromkeys(ROPE_KEYS, "rope.sets")
    original = answer["real"].get(ORIGINAL)
    if original is not None and all(one["parameters"].get(ORIGINAL, original) == original for one in sets):
        draft.aliases.setdefault(ORIGINAL, "rope.sets")  # transformers writes it into the rope dict
    evidence = tuple(Evidence("probe", f"the measured angles are those of {label}") for label in labels)
    return Fact("rope.sets", [one for one in sets if one["layers"]], "measured", evidence, expression)


def _origin(rotation: Mapping[str, Any], variant: Mapping[str, Any], length: int) -> str:
    """`settings:<dotted path of a rope dict>`, `theta:<key>`, or `unknown`."""
    attributes = variant["attributes"]
    dicts = [key for key, value in attributes.items() if isinstance(value, dict) and "rope_theta" in value]
    for key in sorted(dicts, key=lambda one: (not one.startswith("rope_parameters"), one)):
        found = table(_parameters(attributes, key), _setting(rotation["dim"], attributes, length))
        if found is not None and agrees(found, rotation["inv_freq"], rotation["attention_factor"]):
            return f"settings:{key}"
    for key, value in attributes.items():
        if is_number(value) and value > 1 and rotation["attention_factor"] == 1.0:
            plain = table({"rope_theta": value}, _setting(rotation["dim"], attributes, length))
            if plain is not None and agrees(plain, rotation["inv_freq"], 1.0):
                return f"theta:{key}"
    if (stretched := _stretched(rotation, attributes, length)) is not None:
        return stretched
    fixed = _fixed_theta(rotation)
    return f"fixed:{fixed:g}" if fixed else "unknown"


def _parameters(attributes: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The rope dict under a dotted path.

    transformers looks for `truncate` beside the dicts of several kinds of layers, not inside one
    (`modeling_rope_utils._compute_yarn_parameters`).
    """
    outer, _, _ = key.rpartition(".")
    found = dict(attributes[key])
    if isinstance(attributes.get(outer), dict) and found.get("rope_type") == "yarn":
        found["truncate"] = attributes[outer].get("truncate", True)
    return found


def _stretched(rotation: Mapping[str, Any], attributes: Mapping[str, Any], length: int) -> str | None:
    """`stretched:<key of theta>/<key of the factor>`: positions divided by a number before they turn anything."""
    numbers = {key: float(value) for key, value in attributes.items() if is_number(value) and value > 1}
    wanted = 1 / rotation["inv_freq"][0] if rotation["inv_freq"][0] else 0.0
    factors = [key for key, value in numbers.items() if math.isclose(value, wanted, rel_tol=1e-4)]
    for factor, theta in itertools.product(factors, numbers):
        parameters = {"rope_type": "linear", "rope_theta": numbers[theta], "factor": numbers[factor]}
        found = table(parameters, _setting(rotation["dim"], attributes, length))
        if theta != factor and found and agrees(found, rotation["inv_freq"], rotation["attention_factor"]):
            return f"stretched:{theta}/{factor}"
    return None


def _fixed_theta(rotation: Mapping[str, Any]) -> float | None:
    """A base written into the code: the frequencies are a plain geometric series of a round number."""
    frequencies, dim = rotation["inv_freq"], rotation["dim"]
    if rotation["attention_factor"] != 1.0 or dim < 4:
        return None
    theta = round((frequencies[0] / frequencies[1]) ** (dim / 2), -2)
    if theta <= 1:
        return None
    pairs = zip(base_table(theta, dim), frequencies, strict=True)
    return float(theta) if all(math.isclose(a, b, rel_tol=2e-4, abs_tol=2e-7) for a, b in pairs) else None


def _setting(dim: int, attributes: Mapping[str, Any], length: int) -> Setting:
    return Setting(
        dim,
        int(attributes.get("max_position_embeddings") or 0),
        int(attributes.get("original_max_position_embeddings") or 0),
        length,
    )


def _which(origins: Mapping[str, list[Any]], labels: list[str], toys: Toys) -> Expression | None:
    """Index of the set that a layer uses, None for a layer without rotation."""
    numbers = {
        name: [None if one is None else labels.index(one) for one in layers] for name, layers in origins.items()
    }
    if len(set(map(str, numbers["a"] + numbers["b"]))) == 1:
        return Const(0)
    return fit_layers(numbers["a"], numbers["b"], toys)


def _real_set(label: str, index: int, per_layer: list[Any], answer: Mapping[str, Any], draft: Draft) -> dict[str, Any]:
    real = answer["real"]
    origin, _, key = label.partition(":")
    parameters: dict[str, Any] = {"rope_type": "default"}
    if origin == "settings" and real.get(key):
        parameters = _parameters(real, key)
    elif origin == "theta":
        parameters["rope_theta"] = real.get(key)
    elif origin == "fixed":
        parameters["rope_theta"] = float(key)
    theta_key, _, factor_key = key.partition("/") if origin == "stretched" else (key, "", "")
    if origin == "stretched":
        parameters = {"rope_type": "linear", "rope_theta": real.get(theta_key), "factor": real.get(factor_key)}
    dim = int(draft.value("rope.dim") or draft.value("head_dim") or 0)
    found = table(parameters, _setting(dim, real, int(real.get("max_position_embeddings") or 0)))
    return {
        "layers": [layer for layer, used in enumerate(per_layer) if used == index],
        "type": parameters.get("rope_type", parameters.get("type", "default")),
        "theta": parameters.get("rope_theta"),
        "parameters": parameters,
        "inv_freq": list(asdict(found)["inv_freq"]) if found else None,
        "attention_factor": found.attention_factor if found else None,
        "config_key": key if origin == "settings" else None,
        "theta_key": theta_key if origin in ("theta", "stretched") else None,
        **({"factor_key": factor_key} if factor_key else {}),
    }
