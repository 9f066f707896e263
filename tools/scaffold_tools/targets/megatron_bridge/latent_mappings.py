"""Mappings of latent attention whose rotated rows lie otherwise than megatron-core's."""

from __future__ import annotations

from scaffold_tools.blueprint.facts import Blueprint, TensorRole
from scaffold_tools.targets.megatron_bridge.mapping_rows import Fused

ROTATED_ROWS = "RotatedRowsMapping"
ROWS_BEFORE: tuple[tuple[str, str], ...] = (
    ("attn.q", "qk_head_dim"),
    ("mla.q_b", "qk_head_dim"),
    ("mla.kv_a", "kv_lora_rank"),
)
"""(role, provider attribute that counts the rows of a head before those that rotate)."""


def rotated_rows(row: TensorRole, megatron: str, blueprint: Blueprint) -> Fused | None:
    """The mapping of a projection whose rotated rows turn by halves, where attention is latent; else None.

    megatron-core's latent attention rotates rows 2i and 2i + 1 together; a permutation of rows makes up for it.
    """
    before = dict(ROWS_BEFORE).get(row.role)
    halves = blueprint.value("mla.kv_rank") is not None and blueprint.value("rope.pairing") == "half"
    if before is None or not halves or row.transposed or row.packing is not None:
        return None
    arguments = (("hf_param", row.pattern), ("before", before))
    return Fused(ROTATED_ROWS, megatron, arguments, "halves of the rotated rows to pairs")
