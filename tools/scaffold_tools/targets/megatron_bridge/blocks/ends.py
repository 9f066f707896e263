"""What acts between the last layer and the logits: the final norm, and a linear with an activation and a norm."""

from __future__ import annotations

from scaffold_tools.blueprint.facts import Blueprint, Gap
from scaffold_tools.targets.megatron_bridge.blocks.facts import expression, has, is_number
from scaffold_tools.targets.megatron_bridge.blocks.mlp import CURVES
from scaffold_tools.targets.megatron_bridge.blocks.model import BlockRow, Naming, Part, ProviderField

SOURCES: dict[str, str] = {
    "gelu": "F.gelu(x)",
    "gelu_tanh": 'F.gelu(x, approximate="tanh")',
    "relu": "F.relu(x)",
    "relu2": "F.relu(x).square()",
    "silu": "F.silu(x)",
    "tanh": "torch.tanh(x)",
    "sigmoid": "torch.sigmoid(x)",
    **{name: curve.formula for name, curve in CURVES.items()},
}
"""Curve -> Python source over `x`."""


def _final_eps(blueprint: Blueprint, naming: Naming) -> Part:
    return Part(
        features=("final_norm_eps",),
        fields=(
            ProviderField(
                "final_layernorm_epsilon",
                "float",
                "1e-5",
                expression(blueprint, "norm.final.eps"),
                blueprint.value("norm.final.eps"),
                "Epsilon of the final norm.",
            ),
        ),
    )


def _transform(blueprint: Blueprint, naming: Naming) -> Part:
    curve = str(blueprint.value("head.activation"))
    if curve not in SOURCES or not has(blueprint, "head.norm"):
        reason = f"no formula is known for {curve} between the linear before the head and its norm"
        return Part(covers=(), gaps=(Gap("head.activation", reason, write_what="the formula in blocks/ends.py"),))
    bias = ("head_transform_bias",) if has(blueprint, "head.dense", "bias") else ()
    math = ("head_transform_math",) if "math." in SOURCES[curve] else ()
    return Part(
        features=("head_transform", *bias, *math),
        names=(("head.dense", "head_transform"), ("head.norm", "head_transform.norm")),
        module_types=((f"{naming.prefix}HeadTransform", "replicated"),),
        values=(("head_transform_formula", SOURCES[curve]),),
    )


ROWS: tuple[BlockRow, ...] = (
    BlockRow(
        "final norm with its own epsilon",
        "megatron-core has one epsilon for all layer norms",
        ("norm.final.eps",),
        lambda blueprint: is_number(blueprint.value("norm.final.eps")),
        _final_eps,
    ),
    BlockRow(
        "no final norm",
        "the stock stack ends in a norm",
        ("norm.before_head",),
        lambda blueprint: blueprint.value("norm.before_head") is False,
        lambda blueprint, naming: Part(features=("no_final_norm",)),
    ),
    BlockRow(
        "linear before the head",
        "a linear, an activation and a norm act between the final norm and the output layer",
        ("head.activation",),
        lambda blueprint: has(blueprint, "head.dense"),
        _transform,
    ),
)
