"""Floating point operations of a training step: what upstream's count covers, and a count for what it does not.

`training/utils/flop_utils.py` reads the provider's attributes. It knows attention (with windows, output gates,
latents, selected keys), gated delta nets of megatron-core, experts and MTP layers. It takes every other layer of a GPT
model for attention; for those a provider counts by itself, in a method that upstream asks first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.targets.megatron_bridge.blocks import BlockPlan
from scaffold_tools.targets.megatron_bridge.flops_source import HOOK


@dataclass(frozen=True)
class MixerCost:
    """Multiplications of one token in one layer of a kind, as code over the provider's fields."""

    feature: str
    """The feature of the block; also the name of the variable."""
    reason: str
    """What the terms are, and where that of the recurrence comes from."""
    code: str
    listed: bool = True
    """Stands in the place of attention, in the layers of `<feature>_layers` or in all."""


_MAMBA = (
    "self.hidden_size * (2 * self.mamba_num_heads * self.mamba_head_dim + 2 * self.mamba_num_groups"
    " * self.mamba_state_dim + self.mamba_num_heads)"
    " + self.mamba_conv_width * (self.mamba_num_heads * self.mamba_head_dim"
    " + 2 * self.mamba_num_groups * self.mamba_state_dim)"
    " + 7 * self.mamba_num_heads * self.mamba_head_dim * self.mamba_state_dim // 2"
    " + self.mamba_num_heads * self.mamba_head_dim * self.hidden_size"
)

COSTS: tuple[MixerCost, ...] = (
    MixerCost(
        "mamba",
        "projections, convolution, and a scan of 7 operations for each channel and state, as in upstream's count",
        _MAMBA,
    ),
    MixerCost(
        "delta",
        "projections, convolution, and a state that is read and written twice for each value head, as in upstream's",
        "self.hidden_size * (2 * self.linear_num_key_heads * self.linear_key_head_dim"
        " + 2 * self.linear_num_value_heads * self.linear_value_head_dim + 2 * self.linear_num_value_heads)"
        " + self.linear_conv_kernel_dim * (2 * self.linear_num_key_heads * self.linear_key_head_dim"
        " + self.linear_num_value_heads * self.linear_value_head_dim)"
        " + 4 * self.linear_num_value_heads * self.linear_value_head_dim**2"
        " + self.linear_num_value_heads * self.linear_value_head_dim * self.hidden_size",
    ),
    MixerCost(
        "selective",
        "projections with the low-rank step, convolution, and the scan of Mamba: 7 operations a channel and state",
        "self.selective_inner * (3 * self.hidden_size + self.selective_conv_width + 2 * self.selective_rank"
        " + 2 * self.selective_state_dim) + 7 * self.selective_inner * self.selective_state_dim // 2",
    ),
    MixerCost(
        "short_conv",
        "three projections in, one out, and the taps of each channel",
        "self.short_conv_channels * (4 * self.hidden_size + self.short_conv_width)",
    ),
    MixerCost(
        "lru",
        "gate, input and output projections, taps, and two gates that see a block of channels each",
        "self.lru_width * (3 * self.hidden_size + self.lru_conv_width + 2 * self.lru_width // self.lru_heads)",
    ),
    MixerCost(
        "lightning",
        "queries, keys, values, gate and output, and a state of a head that is written and read once",
        "self.lightning_width * (5 * self.hidden_size + 2 * self.lightning_width // self.lightning_heads)",
    ),
    MixerCost("mamba_beside", "as mamba, beside the attention of every layer", _MAMBA, listed=False),
)
"""Matrices count once a token; gates, norms and activations, which grow with the width alone, are left out everywhere,
and so are routers, as in upstream's count."""


@dataclass(frozen=True)
class Counted:
    """Something whose cost differs, and the attribute by which upstream's count tells it."""

    name: str
    attribute: str
    holds: Callable[[Blueprint, BlockPlan], bool]


COUNTED: tuple[Counted, ...] = (
    Counted(
        "windows of attention",
        "window_attn_skip_freq",
        lambda blueprint, _: any(blueprint.value("attention.window") or ()),
    ),
    Counted(
        "latent attention",
        "multi_latent_attention",
        lambda blueprint, _: blueprint.value("mla.kv_rank") is not None,
    ),
    Counted(
        "gates on the attention output",
        "attention_output_gate",
        lambda blueprint, _: blueprint.value("attention.output_gate") is True,
    ),
    Counted(
        "gated delta nets",
        "linear_attention_freq",
        lambda blueprint, blocks: any(blueprint.value("delta.layers") or ()) and "delta" not in blocks.features,
    ),
    Counted(
        "attention over selected keys",
        "dsa_indexer_topk",
        lambda blueprint, _: blueprint.value("attention.selection") is True,
    ),
    Counted(
        "routed experts",
        "moe_router_topk",
        lambda blueprint, _: blueprint.value("moe.num_experts") is not None,
    ),
)


def flops_words(blueprint: Blueprint, blocks: BlockPlan, counted: frozenset[str]) -> dict[str, Any] | None:
    """What the provider's own count is told; None where upstream's is right, or does not ask the provider."""
    costs = [row for row in COSTS if row.feature in blocks.features]
    bare = blocks.features & {"bare_layers", "some_bare_layers", "lone_mlps"}
    if not (costs or bare) or HOOK not in counted or blueprint.value("mla.kv_rank") is not None:
        return None
    everywhere = [row.feature for row in costs if row.listed and f"{row.feature}_some" not in blocks.features]
    return {
        "costs": [{"name": row.feature, "reason": row.reason, "code": row.code} for row in costs],
        "listed": [row.feature for row in costs if row.listed and row.feature not in everywhere],
        "everywhere": everywhere[0] if everywhere else None,
        "beside": "mamba_beside" in blocks.features,
        "windows": any(blueprint.value("attention.window") or ()),
        "gate": blueprint.value("attention.output_gate") is True,
        "experts": blueprint.value("moe.num_experts") is not None,
        "bare": "bare_layers" in blocks.features,
        "some_bare": "some_bare_layers" in blocks.features,
        "lone": "lone_mlps" in blocks.features,
    }


def uncounted(blueprint: Blueprint, blocks: BlockPlan, counted: frozenset[str]) -> tuple[str, ...]:
    """Notes on what this checkout's count takes for something else."""
    if not counted:
        return ()
    rows = [row.name for row in COUNTED if row.holds(blueprint, blocks) and row.attribute not in counted]
    return tuple(f"training/utils/flop_utils.py of this checkout does not count {name}" for name in rows)
