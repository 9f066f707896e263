"""The rows that a `mapping_registry` is made of."""

from __future__ import annotations

from dataclasses import dataclass

LAYER = "decoder.layers.*."

FUSED_GATE_UP = "FusedGatedMLPMapping"
FUSED_UP_GATE = "FusedUpGateMLPMapping"
SPLIT_ROWS = "SplitRowsMapping"
DELTA_ROWS = "JoinedDeltaMapping"
"""Classes that the family's folder brings along, since Megatron-Bridge has none for these layouts."""


@dataclass(frozen=True)
class Rename:
    """A 1:1 row: AutoMapping(megatron_param=..., hf_param=...)."""

    group: str
    megatron: str
    hf: str


@dataclass(frozen=True)
class Fused:
    """A row that joins, splits or reorders: `<name>(megatron_param=..., <argument>=<hf name>, ...)`."""

    name: str
    megatron: str
    arguments: tuple[tuple[str, str | int | tuple[int, ...]], ...]
    comment: str
    code: tuple[tuple[str, str], ...] = ()
    """Arguments whose values are expressions."""
