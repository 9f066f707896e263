"""What converter operations are, and which one does what a mapping class of Megatron-Bridge does."""

from __future__ import annotations

from dataclasses import dataclass

from scaffold_tools.targets.roll.distribution import COLUMN, DUPLICATED, ROW

CHECK = "scaffold verify: every tensor meets one converter, and the round trip is exact"


@dataclass(frozen=True)
class Operation:
    """`<name>(hf_names=..., mca_names=..., <arguments>)`."""

    name: str
    hf: tuple[str, ...]
    mca: tuple[str, ...]
    arguments: tuple[tuple[str, object], ...] = ()
    comment: str = ""


@dataclass(frozen=True)
class LocalOperation:
    """An operation that the model's package brings along, since mcore_adapter has none for its layout."""

    name: str
    kind: str
    """The template of that name makes it."""
    order: tuple[str, ...] = ()
    """Parts of a fused tensor, first rows first."""
    blocks: str = "1"
    """The rows are cut into this many blocks, and each has all parts: Python source over `groups`."""
    interleaved: bool = False
    """Rows of the parts take turns one by one."""
    transposed: bool = False
    """Weights are stored [in, out]."""
    sizes: tuple[str, ...] = ()
    """Rows of each part: Python source over `config` and the number of all `rows`."""
    groups: tuple[int, ...] = ()
    """How many parts each Hugging Face tensor has."""

    @property
    def moves_rows(self) -> bool:
        """Whether it does to any matrix with these rows what it does to the weight; LoRA's B is such a matrix."""
        return self.kind in ROW_KINDS and not self.transposed


BIAS_KINDS = frozenset({"squeeze", "stacked_bias"})
"""Kinds for what is no matrix: LoRA has nothing for it."""
ROW_KINDS = frozenset({"fused_qkv", "fused_gate_up", "q_kv", "joined_gated_qkv", "paired_qkv"})
"""Kinds for linear_qkv and linear_fc1, whose LoRA adapters the adapter has rules of distribution for."""

STOCK: dict[str, tuple[str, tuple[tuple[str, object], ...]]] = {
    "QKVMapping": ("QKVConverOp", ()),
    "GatedMLPMapping": ("StackConverOp", (("dim", 0),)),
    "ReplicatedMapping": ("RenameConverOp", ()),
    "ColumnParallelMapping": ("RenameConverOp", ()),
    "RowParallelMapping": ("RenameConverOp", ()),
    "AutoMapping": ("RenameConverOp", ()),
    "RMSNorm2ZeroCenteredRMSNormMapping": ("ZeroCenteredRMSNormConverOp", ()),
}
"""Mapping class -> operation of mcore_adapter and its arguments."""

_KEYS = "config.linear_num_key_heads * config.linear_key_head_dim"
_VALUES = "config.linear_num_value_heads * config.linear_value_head_dim"
_CHANNELS = "config.mamba_num_heads * config.mamba_head_dim"
_STATES = "config.mamba_num_groups * config.mamba_state_dim"
_HEADS = "config.linear_num_value_heads"

DELTA_SIZES: dict[str, str] = {"q": _KEYS, "k": _KEYS, "v": _VALUES, "z": _VALUES, "b": _HEADS, "a": _HEADS}
"""Part of a gated delta net's input projection -> its rows."""

SHARDED: dict[str, tuple[str, tuple[str, ...], tuple[int, ...]]] = {
    "MambaInProjMapping": (
        "MambaInputConverOp",
        (_CHANNELS, _CHANNELS, _STATES, _STATES, "config.mamba_num_heads"),
        (5,),
    ),
    "MambaConv1dMapping": ("MambaConvolutionConverOp", (_CHANNELS, _STATES, _STATES), (3,)),
    "GDNConv1dMapping": ("DeltaConvolutionConverOp", (_KEYS, _KEYS, _VALUES), (3,)),
    "GDNLinearMappingSeparate": (
        "DeltaInputConverOp",
        (_KEYS, _KEYS, _VALUES, _VALUES, _HEADS, _HEADS),
        (3, 1, 1, 1),
    ),
}
"""Mapping class -> (operation, rows of its parts, parts of each tensor): parts that ranks share one by one."""

SHARED_BY: dict[str, str] = {
    "ColumnParallelMapping": COLUMN,
    "RowParallelMapping": ROW,
    "ReplicatedMapping": DUPLICATED,
    "RMSNorm2ZeroCenteredRMSNormMapping": DUPLICATED,
}
"""Mapping class -> how the adapter has to split its parameter."""

LOCAL: dict[str, LocalOperation] = {
    "ConcatenatedQKVMapping": LocalOperation("FusedQKVConverOp", "fused_qkv", ("q", "k", "v")),
    "FusedGatedMLPMapping": LocalOperation("FusedGateUpConverOp", "fused_gate_up", ("gate", "up")),
    "FusedUpGateMLPMapping": LocalOperation("FusedUpGateConverOp", "fused_gate_up", ("up", "gate")),
    "FusedQKVMapping": LocalOperation("FusedQKVConverOp", "fused_qkv"),
    "QKeyValueMapping": LocalOperation("QKeyValueConverOp", "q_kv"),
    "GatedQKVMapping": LocalOperation("JoinedGatedQKVConverOp", "joined_gated_qkv"),
    "PairedQKVMapping": LocalOperation("PairedQKVConverOp", "paired_qkv"),
    "TransposedQKVMapping": LocalOperation("TransposedQKVConverOp", "transposed_qkv"),
    "TransposedGatedMLPMapping": LocalOperation("TransposedStackConverOp", "transposed_stack"),
    "RotatedRowsMapping": LocalOperation("RotatedRowsConverOp", "rotated_rows"),
    "SqueezedBiasMapping": LocalOperation("SqueezeConverOp", "squeeze"),
    "GDNLinearMapping": LocalOperation("GroupedDeltaConverOp", "grouped_delta"),
}
"""Mapping class -> the operation that the model's package brings along for it."""

STACKED_BIAS = LocalOperation("StackedBiasConverOp", "stacked_bias")
"""For the biases that experts add to their outputs."""

STACKED: dict[str, LocalOperation] = {
    "FusedExpertMapping": LocalOperation("StackedExpertsConverOp", "stacked_experts"),
    "StackedExpertsMapping": LocalOperation("StackedExpertsConverOp", "stacked_experts", transposed=True),
    "FusedGatedExpertMapping": LocalOperation("StackedGateUpConverOp", "stacked_gate_up", ("gate", "up")),
    "StackedGatedExpertsMapping": LocalOperation("StackedGateUpConverOp", "stacked_gate_up"),
    "StackedPairExpertsMapping": LocalOperation("StackedPairConverOp", "stacked_pair"),
}
"""The same for tensors that hold all experts of a layer."""
