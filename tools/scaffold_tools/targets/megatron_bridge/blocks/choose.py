"""From a blueprint to the blocks that it needs."""

from __future__ import annotations

import keyword
import re

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.errors import BadInput
from scaffold_tools.targets.megatron_bridge.blocks.attention import ROWS as ATTENTION
from scaffold_tools.targets.megatron_bridge.blocks.delta import ROWS as DELTA
from scaffold_tools.targets.megatron_bridge.blocks.difference import ROWS as DIFFERENCE
from scaffold_tools.targets.megatron_bridge.blocks.embedding import ROWS as EMBEDDING
from scaffold_tools.targets.megatron_bridge.blocks.ends import ROWS as ENDS
from scaffold_tools.targets.megatron_bridge.blocks.exceptions import ROWS as EXCEPTIONS
from scaffold_tools.targets.megatron_bridge.blocks.features import ROUTED, needs_layer_spec
from scaffold_tools.targets.megatron_bridge.blocks.gaps import find_gaps
from scaffold_tools.targets.megatron_bridge.blocks.key_bias import ROWS as KEY_BIAS
from scaffold_tools.targets.megatron_bridge.blocks.layer import ROWS as LAYER
from scaffold_tools.targets.megatron_bridge.blocks.mamba import ROWS as MAMBA
from scaffold_tools.targets.megatron_bridge.blocks.mixers import ROWS as MIXERS
from scaffold_tools.targets.megatron_bridge.blocks.mla import ROWS as MLA
from scaffold_tools.targets.megatron_bridge.blocks.mlp import ROWS as MLP
from scaffold_tools.targets.megatron_bridge.blocks.model import Block, BlockPlan, BlockRow, Naming, Part
from scaffold_tools.targets.megatron_bridge.blocks.moe import ROWS as MOE
from scaffold_tools.targets.megatron_bridge.blocks.moe import needs_router, routes
from scaffold_tools.targets.megatron_bridge.blocks.normed_residual import ROWS as NORMED_RESIDUAL
from scaffold_tools.targets.megatron_bridge.blocks.norms import ROWS as NORMS
from scaffold_tools.targets.megatron_bridge.blocks.output_gate import ROWS as OUTPUT_GATE
from scaffold_tools.targets.megatron_bridge.blocks.output_norms import ROWS as OUTPUT_NORMS
from scaffold_tools.targets.megatron_bridge.blocks.qk_norm import ROWS as QK_NORM
from scaffold_tools.targets.megatron_bridge.blocks.rope import ROWS as ROPE
from scaffold_tools.targets.megatron_bridge.blocks.scaling import ROWS as SCALING
from scaffold_tools.targets.megatron_bridge.blocks.selection import ROWS as SELECTION

ROWS: tuple[BlockRow, ...] = (
    *MAMBA,
    *MIXERS,
    *DELTA,
    *MLA,
    *SELECTION,
    *EMBEDDING,
    *SCALING,
    *NORMS,
    *OUTPUT_NORMS,
    *EXCEPTIONS,
    *ENDS,
    *KEY_BIAS,
    *DIFFERENCE,
    *ROPE,
    *QK_NORM,
    *ATTENTION,
    *OUTPUT_GATE,
    *MLP,
    *LAYER,
    *NORMED_RESIDUAL,
    *MOE,
)
"""The block table, in the order in which a reader meets the blocks in a generated file."""

_CLASS_TAIL = re.compile(r"(ForCausalLM|LMHeadModel|Model|ForConditionalGeneration)$")


def naming_of(blueprint: Blueprint) -> Naming:
    """Class prefix and module stem of the family.

    Raises:
        BadInput: the architecture is not a Python identifier, so nothing can be called after it.
    """
    prefix = _CLASS_TAIL.sub("", blueprint.architecture)
    if not prefix.isidentifier() or keyword.iskeyword(prefix):
        raise BadInput(f"architecture {blueprint.architecture!r} cannot be part of a Python class name")
    stem = re.sub(r"\W|_text$", "", blueprint.model_type.lower().replace("-", "_").replace(".", "_"))
    if not stem.isidentifier() or keyword.iskeyword(stem):
        stem = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", prefix).lower()
    return Naming(prefix[0].upper() + prefix[1:], stem)


def choose_blocks(blueprint: Blueprint, *, naming: Naming | None = None) -> BlockPlan:
    """Every block whose row applies to this blueprint, merged into one plan.

    Args:
        blueprint: what is known of the model.
        naming: how to call classes and functions; from the architecture where it is not given.
    """
    naming = naming or naming_of(blueprint)
    chosen = [(row, row.part(blueprint, naming)) for row in ROWS if row.applies(blueprint)]
    features = frozenset(feature for _, part in chosen for feature in part.features)
    if routes(blueprint) and (needs_layer_spec(features) or needs_router(blueprint) or features & ROUTED):
        features |= {"expert_layers"}
    gaps = tuple(gap for _, part in chosen for gap in part.gaps) + find_gaps(blueprint, features)
    settings = _merged_settings([part for _, part in chosen])
    return BlockPlan(
        naming=naming,
        blocks=tuple(Block(row.name, row.reason, _covers(row, part)) for row, part in chosen if part.features),
        provider_fields=tuple({field.name: field for _, part in chosen for field in part.fields}.values()),
        provider_settings=settings,
        megatron_names={role: name for _, part in chosen for role, name in part.names},
        module_types=tuple(dict.fromkeys(row for _, part in chosen for row in part.module_types)),
        provider_class=f"{naming.prefix}ModelProvider" if features else None,
        modeling_needed=bool(features),
        gaps=gaps,
        covered_facts=frozenset(fact for row, part in chosen for fact in _covers(row, part)),
        features=features,
        values={name: value for _, part in chosen for name, value in part.values},
    )


def _covers(row: BlockRow, part: Part) -> tuple[str, ...]:
    return row.covers if part.covers is None else part.covers


def _merged_settings(parts: list[Part]) -> tuple:
    """Settings by name; the first block that asks for one decides, and rows never ask for different values."""
    merged: dict = {}
    for part in parts:
        for setting in part.settings:
            merged.setdefault(setting.name, setting)
    return tuple(merged.values())
