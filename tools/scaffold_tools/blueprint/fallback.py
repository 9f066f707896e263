"""A blueprint from config keys and tensor names alone, for a model whose code may not run.

Everything here is a hint: facts are `declared` or `assumed`, roles come from names that the field uses.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from scaffold_tools.blueprint.facts import Const, Fact, Gap, Product, TensorRole, Term
from scaffold_tools.blueprint.measured import Draft
from scaffold_tools.blueprint.roles import Roles, matcher, pattern_of
from scaffold_tools.blueprint.rules import CURVES, RULES
from scaffold_tools.classify.evidence import Evidence
from scaffold_tools.source.inventory import Inventory, TensorInfo


class NameRow(NamedTuple):
    """A usual ending of a tensor name and the role it suggests."""

    ending: str
    role: str


NAMES: tuple[NameRow, ...] = (
    NameRow("embed_tokens", "embed.tokens"),
    NameRow("wte", "embed.tokens"),
    NameRow("lm_head", "head"),
    NameRow("self_attn.q_proj", "attn.q"),
    NameRow("self_attn.k_proj", "attn.k"),
    NameRow("self_attn.v_proj", "attn.v"),
    NameRow("self_attn.o_proj", "attn.o"),
    NameRow("self_attn.q_norm", "norm.q"),
    NameRow("self_attn.k_norm", "norm.k"),
    NameRow("mlp.gate_proj", "mlp.gate"),
    NameRow("mlp.up_proj", "mlp.up"),
    NameRow("mlp.down_proj", "mlp.down"),
    NameRow("input_layernorm", "norm.pre_attn"),
    NameRow("post_attention_layernorm", "norm.pre_mlp"),
    NameRow("model.norm", "norm.final"),
)


def declared_facts(inventory: Inventory, draft: Draft) -> None:
    """What the usual config keys declare, and the field's defaults."""
    config = inventory.config
    for rule in RULES:
        key = next((one for one in rule.hints if config.get(one) is not None), None)
        if key is not None and rule.name == "mlp.activation":
            curve = CURVES.get(str(config[key]))
            if curve is not None:
                draft.aliases[key] = rule.name
                evidence = (Evidence("key", f"{key} is {config[key]!r}"),)
                draft.facts.append(Fact(rule.name, curve, "declared", evidence, Const(curve)))
        elif key is not None and not isinstance(config[key], (dict, list, str)):
            evidence = (Evidence("key", f"{key} is {config[key]}"),)
            value: Any = config[key]
            if rule.kind == "layers":
                value = [value] * int(draft.value("num_layers") or 0)
            draft.facts.append(Fact(rule.name, value, "declared", evidence, Product((Term(key),))))
        elif rule.assumed is not None:
            evidence = (Evidence("key", "no key says otherwise"),)
            draft.facts.append(Fact(rule.name, rule.assumed, "assumed", evidence, Const(rule.assumed)))


def named_roles(tensors: Iterable[TensorInfo] | None) -> Roles:
    """Roles by usual names; every other tensor is a gap."""
    if tensors is None:
        return Roles((), (), ("no tensor table and no probe: no roles",))
    groups: dict[str, list[TensorInfo]] = {}
    for info in tensors:
        groups.setdefault(pattern_of(info.name), []).append(info)
    rows: list[TensorRole] = []
    gaps: list[Gap] = []
    for pattern, infos in groups.items():
        stem, _, param = pattern.rpartition(".")
        row = next((one for one in NAMES if stem == one.ending or stem.endswith("." + one.ending)), None)
        if row is None or param not in ("weight", "bias"):
            gaps.append(Gap(pattern, f"{len(infos)} tensor(s) {list(infos[0].shape)} of unknown role"))
            continue
        named = matcher(pattern)
        found = [match for info in infos if (match := named.match(info.name))]
        layers = tuple(sorted(int(match.group(1)) for match in found)) if "*" in pattern else None
        evidence = (Evidence("tensor", "a usual name, not checked against the code"),)
        rows.append(
            TensorRole(
                row.role,
                pattern,
                "bias" if param == "bias" else "weight",
                tuple(infos[0].shape),
                layers,
                None,
                evidence,
            )
        )
    return Roles(tuple(rows), tuple(gaps), ())
