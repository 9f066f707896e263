"""Custom megatron-core blocks of a generated family: chosen from facts, composed, never a list of models."""

from scaffold_tools.targets.megatron_bridge.blocks.choose import choose_blocks, naming_of
from scaffold_tools.targets.megatron_bridge.blocks.context import modeling_context, provider_context
from scaffold_tools.targets.megatron_bridge.blocks.model import (
    Block,
    BlockPlan,
    Naming,
    ProviderField,
    ProviderSetting,
)

__all__ = [
    "Block",
    "BlockPlan",
    "Naming",
    "ProviderField",
    "ProviderSetting",
    "choose_blocks",
    "modeling_context",
    "naming_of",
    "provider_context",
]
