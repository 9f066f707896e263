"""Configs that say something else than the code does or the checkpoint holds: the code and the tensors are right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from scaffold_tools.blueprint.expressions import is_number, keys_of, same, shown
from scaffold_tools.blueprint.facts import Fact, Gap, Product, TensorRole
from scaffold_tools.blueprint.measured import Draft
from scaffold_tools.blueprint.rules import RULES
from scaffold_tools.classify.evidence import Evidence
from scaffold_tools.source.inventory import Inventory

SHARED = ("moe.", "mla.", "mamba.", "delta.", "qk_norm.", "selective.", "short_conv.", "attention.temperature")
"""Beginnings of facts whose usual keys are other facts' too."""
THETA = ("rope_theta", "rotary_emb_base")
ROTATED = ("rotary_dim", "rotary_ndims")
"""How many dimensions of a head rotate; most classes read a share instead."""


def declared_lies(config: Mapping[str, Any], facts: Sequence[Fact]) -> list[str]:
    """One note for each usual key of the config whose number the code does not follow."""
    used = {key for fact in facts for key in keys_of(fact.expression)}
    values = {fact.name: fact for fact in facts}
    routed = "moe.layers" in values
    notes = []
    for rule in RULES:
        fact = values.get(rule.name)
        if fact is None or rule.name.startswith(SHARED) or (routed and rule.name == "ffn_hidden_size"):
            continue
        for key in rule.hints:
            declared = config.get(key)
            if key in used or not is_number(declared) or not is_number(fact.value) or same(declared, fact.value):
                continue
            notes.append(f"config lies: {key} is {declared}, the code computes {_told(fact)}")
    return [*notes, *_theta(config, values, used), *_rotated(config, values, used)]


def _told(fact: Fact) -> str:
    formula = f", which is {shown(fact.expression)}" if keys_of(fact.expression) else ""
    return f"{fact.name} = {fact.value}{formula}"


def _rotated(config: Mapping[str, Any], values: Mapping[str, Fact], used: set[str]) -> list[str]:
    fact = values.get("rope.dim")
    if fact is None:
        return []
    return [
        f"config lies: {key} is {config[key]}, the code rotates {fact.value} dimensions of a head"
        for key in ROTATED
        if is_number(config.get(key)) and key not in used and config[key] != fact.value
    ]


def _theta(config: Mapping[str, Any], values: Mapping[str, Fact], used: set[str]) -> list[str]:
    sets = values["rope.sets"].value if "rope.sets" in values else []
    bases = {one.get("theta") for one in sets}
    followed = {one.get("theta_key") for one in sets} | used
    return [
        f"config lies: {key} is {config[key]}, the code rotates with {', '.join(map(str, sorted(bases, key=str)))}"
        for key in THETA
        if is_number(config.get(key)) and bases and config[key] not in bases and key not in followed
    ]


PLAIN = ("F64", "F32", "F16", "BF16")
"""Dtypes of tensors that are stored as they are."""


class SizeRow(NamedTuple):
    """Rows (axis 0) or columns (axis 1) of a weight [out, in], as a product of facts."""

    role: str
    axis: int
    facts: tuple[str, ...]


SIZES: tuple[SizeRow, ...] = (
    SizeRow("embed.tokens", 0, ("vocab_size",)),
    SizeRow("embed.tokens", 1, ("hidden_size",)),
    SizeRow("attn.k", 0, ("num_query_groups", "head_dim")),
    SizeRow("attn.v", 0, ("num_query_groups", "head_dim")),
    SizeRow("attn.o", 1, ("num_attention_heads", "head_dim")),
    SizeRow("mlp.gate", 0, ("ffn_hidden_size",)),
    SizeRow("mlp.up", 0, ("ffn_hidden_size",)),
    SizeRow("mlp.down", 1, ("ffn_hidden_size",)),
)
"""Sizes that a checkpoint states as well."""


def stored_lies(roles: Sequence[TensorRole], draft: Draft, inventory: Inventory) -> list[Gap]:
    """Sizes of the config that the checkpoint's own tensors contradict: each is one gap, and the tensors' value stays.

    Only for checkpoints whose headers were read and that are stored as the code has them.
    """
    table = inventory.tensors
    if table is None or table.origin != "headers" or draft.value("mla.kv_rank") is not None:
        return []
    if any(info.dtype not in PLAIN for info in table.tensors):
        return []
    found: dict[str, Gap] = {}
    for row in SIZES:
        role = next((one for one in roles if one.role == row.role and one.param == "weight" and not one.packing), None)
        values = [draft.value(name) for name in row.facts]
        if role is None or len(role.shape) != 2 or not all(type(value) is int for value in values):
            continue
        stored = role.shape[1 - row.axis if role.transposed else row.axis]
        told = 1
        for value in values:
            told *= value
        if stored != told and row.facts[0] not in found:
            found[row.facts[0]] = _size_gap(row, role, stored, told, draft)
    return list(found.values())


def _size_gap(row: SizeRow, role: TensorRole, stored: int, told: int, draft: Draft) -> Gap:
    name = row.facts[0]
    fact = next(one for one in draft.facts if one.name == name)
    keys = ", ".join(keys_of(fact.expression)) or "the code"
    others = told // fact.value
    if stored % others == 0:  # of a product, the first is taken to be what is wrong
        evidence = (*fact.evidence, Evidence("tensor", f"{role.pattern} is {list(role.shape)}"))
        right = replace(fact, value=stored // others, certainty="constrained", evidence=evidence)
        draft.facts[draft.facts.index(fact)] = right
    draft.notes.append(f"tensors win: {' * '.join(row.facts)} is {stored}, as {role.pattern} has it, not {told}")
    plain = isinstance(fact.expression, Product) and len(keys_of(fact.expression)) == 1
    return Gap(
        name,
        f"{keys} says {told}, {role.pattern} in the checkpoint has {list(role.shape)}: no code loads that",
        write_what=f"{keys} = {stored // others} in config.json" if plain else "the right sizes in config.json",
        check="scaffold inspect",
    )
