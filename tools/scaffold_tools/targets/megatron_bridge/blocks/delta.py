"""Gated delta nets that are not quite megatron-core's: a subclass of its module in the place of attention."""

from __future__ import annotations

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.targets.megatron_bridge.blocks.facts import expression, has, same
from scaffold_tools.targets.megatron_bridge.blocks.mixers import COVERS, shared_part
from scaffold_tools.targets.megatron_bridge.blocks.model import BlockRow, Naming, Part, ProviderField
from scaffold_tools.targets.megatron_bridge.mixer_rules import only_beside_attention


def _writes_more(blueprint: Blueprint) -> bool:
    return blueprint.value("delta.write_factor") not in (None, 1, 1.0)


def _own_epsilon(blueprint: Blueprint) -> bool:
    return not same(blueprint, "delta.norm.eps", "norm.eps")


def _field(blueprint: Blueprint, fact: str, name: str, default: str, comment: str) -> ProviderField:
    return ProviderField(name, "float", default, expression(blueprint, fact), blueprint.value(fact), comment)


def _part(blueprint: Blueprint, naming: Naming) -> Part:
    shared = shared_part(blueprint, "delta", "Which layers are gated delta nets.")
    features, fields = list(shared.features), list(shared.fields)
    if _writes_more(blueprint):
        features.append("delta_write_factor")
        comment = "Factor on the sigmoid that says how much a delta net writes."
        fields.append(_field(blueprint, "delta.write_factor", "delta_write_factor", "1.0", comment))
    if _own_epsilon(blueprint):
        features.append("delta_norm_eps")
        comment = "Epsilon of the norm in a gated delta net."
        fields.append(_field(blueprint, "delta.norm.eps", "delta_norm_epsilon", "1e-5", comment))
    return Part(
        features=tuple(features),
        fields=tuple(fields),
        settings=shared.settings,
        names=shared.names,
        module_types=((f"{naming.prefix}DeltaNet", "column"),),
        gaps=shared.gaps,
    )


ROWS: tuple[BlockRow, ...] = (
    BlockRow(
        "gated delta nets of its own",
        "megatron-core's write at most what they read, and take epsilon and place of norms from the other layers",
        ("delta.layers", "delta.write_factor", "delta.norm.eps", *COVERS),
        lambda blueprint: (
            has(blueprint, "delta.A")
            and (_writes_more(blueprint) or _own_epsilon(blueprint) or only_beside_attention(blueprint))
        ),
        _part,
    ),
)
