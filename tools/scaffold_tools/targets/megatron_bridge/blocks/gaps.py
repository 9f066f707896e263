"""What no block expresses yet: each row names the combination, and what somebody has to write."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from scaffold_tools.blueprint.facts import Blueprint, Gap
from scaffold_tools.targets.megatron_bridge.blocks.facts import has, is_moe
from scaffold_tools.targets.megatron_bridge.blocks.mlp import CURVES, PARAMETRIC, STOCK
from scaffold_tools.targets.megatron_bridge.blocks.moe import routes

_PARITY = "scaffold verify: logits.max_abs"
FORWARD = frozenset({"mamba_beside", "attention_input_multiplier", "attention_output_multiplier"})
"""Features that change what self-attention takes and gives."""


class GapRow(NamedTuple):
    """A combination of facts and blocks that has no code."""

    subject: str
    applies: Callable[[Blueprint, frozenset[str]], bool]
    reason: str
    write_what: str


ROWS: tuple[GapRow, ...] = (
    GapRow(
        "mlp.activation",
        lambda blueprint, features: (
            blueprint.value("mlp.activation") is not None
            and blueprint.value("mlp.activation") not in STOCK
            and blueprint.value("mlp.activation") not in CURVES
            and blueprint.value("mlp.activation") not in PARAMETRIC
        ),
        "no formula is known for this activation (or it has parameters of its own)",
        "the activation as a public function of the modeling module",
    ),
    GapRow(
        "attn.sinks",
        lambda blueprint, features: has(blueprint, "attn.sinks") and "eager_attention" in features,
        "softmax offsets together with capped or biased scores",
        "the offset in the softmax of the core attention of the modeling module",
    ),
    GapRow(
        "attention.difference",
        lambda blueprint, features: (
            "difference" in features
            and (
                has(blueprint, "attn.sinks")
                or bool(features & {"eager_attention", "layer_windows", "chunks", "qk_norm_after_rope"})
            )
        ),
        "heads that are subtracted from each other, together with another core attention of the family's own",
        "both in the core attention of the modeling module",
    ),
    GapRow(
        "moe.expert.down",
        lambda blueprint, features: is_moe(blueprint) and not routes(blueprint),
        "there are experts, but how tokens reach them was not measured",
        "the router of the modeling module",
    ),
    GapRow(
        "rope.pairing",
        lambda blueprint, features: "qk_norm_after_rope" in features and "rope_attention_factor" in features,
        "a q/k norm after the rotation cancels a factor that is applied before it",
        "the attention factor after the q/k norm, in the core attention of the modeling module",
    ),
    GapRow(
        "attention.input_multiplier",
        lambda blueprint, features: "rope_sets" in features and bool(features & FORWARD),
        "a self-attention with several rotary tables that scales its input or output",
        "the factors in the self-attention of the modeling module",
    ),
    GapRow(
        "mamba.beside",
        lambda blueprint, features: "mamba_beside" in features and bool(features & {"plain_norm", "post_attn_norm"}),
        "a state space layer beside attention that has a norm on its output, or one that megatron-core lacks",
        "the state space layer in the self-attention of the modeling module",
    ),
    GapRow(
        "norm.kind",
        lambda blueprint, features: "plain_norm" in features and "post_norm" in features,
        "post norms are built by Transformer Engine, which has no LayerNorm without bias or weight",
        "the post norms of the row-parallel projections in the modeling module",
    ),
)


def find_gaps(blueprint: Blueprint, features: frozenset[str]) -> tuple[Gap, ...]:
    """The rows that apply."""
    return tuple(
        Gap(row.subject, row.reason, write_what=row.write_what, check=_PARITY)
        for row in ROWS
        if row.applies(blueprint, features)
    )
