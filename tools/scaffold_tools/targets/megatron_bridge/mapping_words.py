"""What the template of a family's own mapping classes is told."""

from __future__ import annotations

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.targets.megatron_bridge.latent_mappings import ROTATED_ROWS
from scaffold_tools.targets.megatron_bridge.mapping_rows import DELTA_ROWS, FUSED_GATE_UP, FUSED_UP_GATE, SPLIT_ROWS
from scaffold_tools.targets.megatron_bridge.mappings import Mappings
from scaffold_tools.targets.megatron_bridge.moe_mappings import (
    LOCAL_EXPERT_CLASSES,
    SQUEEZED,
    STACKED,
    STACKED_GATED,
    STACKED_PAIR,
    stacked_layout,
)
from scaffold_tools.targets.megatron_bridge.packings import Local

OWN_ROWS: tuple[tuple[str, str], ...] = (
    (SPLIT_ROWS, "split_rows"),
    (DELTA_ROWS, "delta_rows"),
    (ROTATED_ROWS, "rotated_rows"),
)
"""(class, kind) of mappings that one tensor goes through alone."""


def mapping_words(mappings: Mappings, blueprint: Blueprint) -> dict[str, object]:
    """Context of `mappings.py.j2`; no classes where Megatron-Bridge has them all."""
    used = {row.name for row in mappings.fused}
    known = {local.name for local in mappings.local}
    halves = ((FUSED_GATE_UP, ("gate", "up")), (FUSED_UP_GATE, ("up", "gate")))
    shared = [Local(name, "gate_up", order) for name, order in halves if name in used - known]
    rows = [Local(name, kind) for name, kind in OWN_ROWS if name in used - known]
    classes = [*mappings.local, *shared]
    bases = {"gate_up": "GatedMLPMapping", "qkv": "QKVMapping", "gated_qkv": "QKVMapping", "q_kv": "QKVMapping"}
    bases["paired_qkv"] = "QKVMapping"
    bases["head_norms"] = "ReplicatedMapping"
    names = {bases[local.kind.removeprefix("joined_")] for local in classes}
    names |= {"GatedMLPMapping"} if STACKED_PAIR in used else set()
    fused = any(not local.kind.startswith("joined_") for local in classes)
    return {
        "classes": [*classes, *rows],
        "bases": sorted(names | ({"MegatronParamMapping"} if fused or used & {SPLIT_ROWS, DELTA_ROWS} else set())),
        "stacked": STACKED in used,
        "stacked_gated": STACKED_GATED in used,
        "stacked_pair": STACKED_PAIR in used,
        "squeezed": SQUEEZED in used,
        "rotated": ROTATED_ROWS in used,
        **stacked_layout(blueprint.roles),
    }


def local_names(mappings: Mappings) -> frozenset[str]:
    """Mapping classes that the family's folder brings along."""
    used = {row.name for row in mappings.fused}
    own = (
        {local.name for local in mappings.local}
        | LOCAL_EXPERT_CLASSES
        | {FUSED_GATE_UP, FUSED_UP_GATE, *dict(OWN_ROWS)}
    )
    return frozenset(used & own)
