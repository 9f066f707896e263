"""Attention over chosen keys: megatron-core's sparse attention (`experimental_attention_variant = "dsa"`)."""

from __future__ import annotations

from scaffold_tools.blueprint.facts import Blueprint, Const, Gap
from scaffold_tools.targets.megatron_bridge.blocks.facts import expression
from scaffold_tools.targets.megatron_bridge.blocks.model import BlockRow, Naming, Part, ProviderSetting

_INDEXER = "decoder.layers.*.self_attention.core_attention.indexer."
_PARITY = "scaffold verify: logits.max_abs"

SIZES: tuple[tuple[str, str], ...] = (
    ("indexer.heads", "dsa_indexer_n_heads"),
    ("indexer.head_dim", "dsa_indexer_head_dim"),
    ("indexer.top_k", "dsa_indexer_topk"),
    ("indexer.norm_eps", "dsa_indexer_k_norm_epsilon"),
)
"""(fact, provider attribute) of numbers."""

NAMES: tuple[tuple[str, str], ...] = (
    ("indexer.q", _INDEXER + "linear_wq_b"),
    ("indexer.k", _INDEXER + "linear_wk"),
    ("indexer.weights", _INDEXER + "linear_weights_proj"),
    ("indexer.k_norm", _INDEXER + "k_norm"),
)


def selects(blueprint: Blueprint) -> bool:
    """Whether the keys that a query sees are chosen by data, in a way that was measured."""
    return blueprint.value("attention.selection") is True and blueprint.value("indexer.top_k") is not None


def _part(blueprint: Blueprint, naming: Naming) -> Part:
    rows = [ProviderSetting("experimental_attention_variant", "dsa")]
    for fact, attribute in SIZES:
        value = blueprint.value(fact)
        rows.append(ProviderSetting(attribute, value, expression(blueprint, fact) or Const(value)))
    rows.append(ProviderSetting("dsa_indexer_rope_interleaved", blueprint.value("indexer.pairing") == "interleaved"))
    rows.append(ProviderSetting("dsa_indexer_scoring_relu", bool(blueprint.value("indexer.relu"))))
    why = "An orthogonal transform of queries and keys alike: no score changes."
    rows.append(ProviderSetting("dsa_indexer_rotate_activation", False, comment=why))
    return Part(features=("key_selection",), settings=tuple(rows), names=NAMES, gaps=_gaps(blueprint))


def _gaps(blueprint: Blueprint) -> tuple[Gap, ...]:
    rows = (
        (
            blueprint.value("mla.q_rank") is None,
            "indexer.q",
            "megatron-core's indexer takes the query latent; here queries have none",
            "an indexer in the modeling module",
        ),
    )
    return tuple(
        Gap(subject, reason, write_what=what, check=_PARITY) for holds, subject, reason, what in rows if holds
    )


ROWS: tuple[BlockRow, ...] = (
    BlockRow(
        "sparse attention",
        "an indexer chooses the keys that a query sees; megatron-core builds it by a layer spec of its own",
        (
            *(fact for fact, _ in SIZES),
            *("indexer.relu", "indexer.pairing", "attention.selection"),
        ),
        selects,
        _part,
    ),
)
