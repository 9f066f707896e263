"""Differential attention: of two heads, each with the values of both, one output is subtracted from the other."""

from __future__ import annotations

from scaffold_tools.blueprint.facts import Blueprint, Gap
from scaffold_tools.targets.megatron_bridge.blocks.facts import expression, has
from scaffold_tools.targets.megatron_bridge.blocks.model import BlockRow, Naming, Part, ProviderField

_CORE = "decoder.layers.*.self_attention.core_attention."
VECTORS: tuple[tuple[str, str], ...] = tuple(
    (f"attn.difference.{name}", f"{_CORE}lambda_{name}") for name in ("q1", "k1", "q2", "k2")
)
"""(role, Megatron's name)."""
NORM = ("attn.difference.norm", f"{_CORE}difference_weight")
FIELDS: tuple[tuple[str, str, str], ...] = (
    ("base", "0.0", "Heads are subtracted with a constant in their factor: base - drop * exp(-rate * layer)."),
    ("drop", "0.0", "Drop in that constant."),
    ("rate", "0.0", "Rate in that constant."),
    ("eps", "1e-5", "Epsilon of the norm on the difference of two heads."),
)
"""(name, default, meaning)."""


def is_differential(blueprint: Blueprint) -> bool:
    """Whether outputs of heads are subtracted from each other."""
    return blueprint.value("attention.difference") is True


def _part(blueprint: Blueprint, naming: Naming) -> Part:
    reason = None
    if not (has(blueprint, "attn.q") and has(blueprint, "attn.k") and has(blueprint, "attn.v")):
        reason = "a fused projection of heads that are subtracted has no mapping that makes them neighbours"
    elif int(blueprint.value("num_query_groups") or 0) % 2:
        reason = "heads that are subtracted share a key head: core attention here takes key heads in pairs"
    if reason is not None:
        return Part(covers=(), gaps=(Gap("attention.difference", reason, check="logits.max_abs"),))
    fields = tuple(
        ProviderField(
            f"difference_{name}",
            "float",
            default,
            expression(blueprint, f"attention.difference.{name}"),
            blueprint.value(f"attention.difference.{name}"),
            meaning,
        )
        for name, default, meaning in FIELDS
    )
    weighted = has(blueprint, NORM[0])
    return Part(
        features=("core_attention", "difference", *(("difference_weight",) if weighted else ())),
        fields=fields,
        names=(*VECTORS, *((NORM,) if weighted else ())),
        module_types=((f"{naming.prefix}CoreAttention", "replicated"),),
    )


ROWS: tuple[BlockRow, ...] = (
    BlockRow(
        "differential attention",
        "the output of one head is subtracted from that of another, both with the values of both",
        ("attention.difference", *(f"attention.difference.{name}" for name, _, _ in FIELDS)),
        is_differential,
        _part,
    ),
)
