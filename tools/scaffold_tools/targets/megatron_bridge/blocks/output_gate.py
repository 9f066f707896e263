"""Gates on the output of attention that are no sigmoid of rows of the query projection."""

from __future__ import annotations

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.targets.megatron_bridge.blocks.facts import has
from scaffold_tools.targets.megatron_bridge.blocks.model import BlockRow, Naming, Part

CURVES: dict[str, str] = {
    "sigmoid": "torch.sigmoid(gate.float())",
    "softplus": "F.softplus(gate.float())",
    "silu": "F.silu(gate.float())",
    "tanh": "torch.tanh(gate.float())",
}
"""Curve of a gate -> its code over `gate`."""


def has_own_gate(blueprint: Blueprint) -> bool:
    """Whether the gate is a projection of its own, beside that of queries, keys and values."""
    return blueprint.value("attention.gate.curve") in CURVES


def _part(blueprint: Blueprint, naming: Naming) -> Part:
    curve = str(blueprint.value("attention.gate.curve"))
    features = ["own_gate", "own_gate_by_head" if blueprint.value("attention.gate.by_head") else "own_gate_by_value"]
    if has(blueprint, "attn.output_gate", "bias"):
        features.append("own_gate_bias")
    if "F." in CURVES[curve]:
        features.append("own_gate_functional")
    names = [("attn.output_gate", "decoder.layers.*.self_attention.linear_gate")]
    if has(blueprint, "norm.pre_attn"):
        names.append(("norm.pre_attn", "decoder.layers.*.input_layernorm"))
    return Part(features=tuple(features), names=tuple(names), values=(("gate_formula", CURVES[curve]),))


ROWS: tuple[BlockRow, ...] = (
    BlockRow(
        "gate on the attention output",
        "megatron-core gates by the sigmoid of rows of the query projection; this gate has a projection of its own",
        ("attention.gate.curve", "attention.gate.by_head"),
        has_own_gate,
        _part,
    ),
)
