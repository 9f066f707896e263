"""Provider fields that several blocks declare alike."""

from __future__ import annotations

from scaffold_tools.blueprint.facts import Blueprint, PerLayer
from scaffold_tools.targets.megatron_bridge.blocks.facts import expression
from scaffold_tools.targets.megatron_bridge.blocks.model import ProviderField


def layer_flags(blueprint: Blueprint, fact: str, name: str, comment: str) -> ProviderField:
    """One flag a layer, by a key with one label a layer where there is one."""
    formula = expression(blueprint, fact)
    listed = formula if isinstance(formula, PerLayer) else None
    value = None if listed else [bool(flag) for flag in blueprint.value(fact)]
    return ProviderField(name, "list[bool] | None", "None", listed, value, comment)
