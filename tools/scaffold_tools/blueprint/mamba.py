"""Facts of models with state space layers: what such a layer has no place for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from scaffold_tools.blueprint.facts import Product, Term
from scaffold_tools.blueprint.measured import Draft
from scaffold_tools.blueprint.rules import OWN, RULES

ATTENTION = ("attention.", "num_attention_heads", "num_query_groups", "head_dim", "qk_norm.", "bias.qkv", "bias.o")
MLP = ("mlp.activation", "mlp.gated", "ffn_hidden_size", "bias.mlp")


EXPANSION = ("expand", "mamba_expand")
INNER = ("mamba_d_ssm",)
"""Keys of heads * head_dim, where both have keys of their own."""
STEP_LIMITS = ("time_step_limit",)
ACTIVATIONS = ("mamba_hidden_act", "hidden_act")
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts", "num_experts_per_tok")
POSITIONS = ("rope_parameters", "rope_scaling", "rope_theta", "position_embedding_type", "max_position_embeddings")


def account_mixers(answer: Mapping[str, Any], draft: Draft) -> None:
    """Config keys that the measured sizes of mixers hold, whatever way the code uses them."""
    if draft.value("moe.layers") is None and draft.value("mlp.gated") is not None:
        for key in EXPERTS:  # with none, or a single one, code has a plain MLP; toys keep these numbers
            if answer["real"].get(key) in (0, 1):
                draft.aliases.setdefault(key, "mlp.gated")
    account_mamba(answer, draft)
    for kind in OWN:
        layers = draft.value(f"{kind}.layers")
        if layers is None:
            continue
        _by_expansion(draft, f"{kind}.inner", answer["real"])
        for key in ACTIVATIONS:  # the activation is part of what was computed again
            draft.aliases.setdefault(key, f"{kind}.layers")
        for key in POSITIONS if all(layers) else ():
            draft.aliases.setdefault(key, f"{kind}.layers")


def _by_expansion(draft: Draft, name: str, real: Mapping[str, Any]) -> None:
    """A multiple of a key, where another key says that it is this multiple: toys keep the factor."""
    place = next((index for index, fact in enumerate(draft.facts) if fact.name == name), None)
    key = next((key for key in EXPANSION if isinstance(real.get(key), int)), None)
    if place is None or key is None:
        return
    draft.aliases.setdefault(key, name)
    fact = draft.facts[place]
    if isinstance(fact.expression, Product) and fact.expression.constant == real[key] != 1:
        terms = (Term(key), *fact.expression.terms)
        draft.facts[place] = replace(fact, expression=Product(terms))


def account_mamba(answer: Mapping[str, Any], draft: Draft) -> None:
    """Config keys that the measured sizes of state space layers hold, whatever way the code uses them."""
    real = answer["real"]
    layers, heads, dim = (draft.value(f"mamba.{name}") for name in ("layers", "heads", "head_dim"))
    if layers is None:
        return
    hidden = draft.value("hidden_size")
    for key in EXPANSION:
        if isinstance(real.get(key), int) and heads and dim and hidden and real[key] * hidden == heads * dim:
            draft.aliases.setdefault(key, "mamba.heads")
    for key in INNER:
        if heads and dim and real.get(key) == heads * dim:
            draft.aliases.setdefault(key, "mamba.heads")
    for key in STEP_LIMITS if draft.value("mamba.step_limit") is not None else ():
        draft.aliases.setdefault(key, "mamba.step_limit")
    for key in ACTIVATIONS:  # nothing but silu is read as a state space layer
        draft.aliases.setdefault(key, "mamba.layers")
    if all(layers) and draft.value("mamba.beside") is None:
        for key in (key for key in POSITIONS if key in real):
            draft.aliases.setdefault(key, "mamba.layers")
    elif draft.value("position.kind") is not None:
        draft.aliases.setdefault("position_embedding_type", "position.kind")


def absent_facts(answer: Mapping[str, Any]) -> frozenset[str]:
    """Facts of attention or of MLPs, where no layer of the toys has one."""
    facts = [answer["variants"][name]["facts"] for name in ("a", "b")]
    beginnings: tuple[str, ...] = ()
    if all(any(one.get(f"{kind}.layers") is True for kind in ("mamba", *OWN)) for one in facts):
        beginnings += ATTENTION
    if all(one.get("mlp.layers") is False for one in facts):
        beginnings += MLP
    names = {rule.name for rule in RULES if beginnings and rule.name.startswith(beginnings)}
    return frozenset(name for name in names if not any(name in one for one in facts))
