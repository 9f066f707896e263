"""Core attention and projections: score cap, windows of several sizes, clipped projections, ALiBi, partial biases."""

from __future__ import annotations

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.targets.megatron_bridge.blocks.facts import expression, has, is_number
from scaffold_tools.targets.megatron_bridge.blocks.fields import layer_flags
from scaffold_tools.targets.megatron_bridge.blocks.model import BlockRow, Naming, Part, ProviderField, ProviderSetting
from scaffold_tools.targets.megatron_bridge.blocks.norms import input_norm_is_fused


def _softcap(blueprint: Blueprint, naming: Naming) -> Part:
    return Part(
        features=("core_attention", "eager_attention", "attention_softcap"),
        fields=(
            ProviderField(
                "attn_logit_softcapping",
                "float",
                "50.0",
                expression(blueprint, "attention.softcap"),
                blueprint.value("attention.softcap"),
                "Cap on the attention scores: cap * tanh(scores / cap).",
            ),
        ),
    )


def window_sizes(blueprint: Blueprint) -> set[int]:
    """The distinct window sizes of the model; empty where every query sees all keys."""
    windows = blueprint.value("attention.window") or []
    return {int(window) for window in windows if window is not None}


def _windows(blueprint: Blueprint, naming: Naming) -> Part:
    return Part(
        features=("core_attention", "layer_windows"),
        fields=(
            ProviderField(
                "layer_window_sizes",
                "list[int | None] | None",
                "None",
                expression(blueprint, "attention.window"),
                list(blueprint.value("attention.window")),
                "Keys that a query sees, itself included, for each layer; None sees all.",
            ),
        ),
    )


def _alibi(blueprint: Blueprint, naming: Naming) -> Part:
    scaled = blueprint.value("position.alibi.multiplier", 1.0) != 1.0
    field = ProviderField(
        "alibi_multiplier",
        "float",
        "1.0",
        expression(blueprint, "position.alibi.multiplier"),
        blueprint.value("position.alibi.multiplier"),
        "Factor on the linear biases.",
    )
    features = ["core_attention", "eager_attention", "alibi", *(["alibi_scaled"] if scaled else [])]
    return Part(
        features=(*features, *(["alibi_rounded"] if blueprint.value("position.alibi.rounded") else [])),
        fields=(field,) if scaled else (),
        settings=(ProviderSetting("position_embedding_type", "none", comment="Positions enter as biases on scores."),),
    )


def _clip(blueprint: Blueprint, naming: Naming) -> Part:
    return Part(
        features=("clip_qkv",),
        fields=(
            ProviderField(
                "clip_qkv",
                "float | None",
                "None",
                expression(blueprint, "attention.clip_qkv"),
                blueprint.value("attention.clip_qkv"),
                "Bound on queries, keys and values.",
            ),
        ),
    )


def _differs(blueprint: Blueprint, one: str, other: str) -> bool:
    first, second = blueprint.value(one), blueprint.value(other)
    return first is not None and second is not None and bool(first) != bool(second)


def proj_bias_part(blueprint: Blueprint, naming: Naming) -> Part:
    """An attention output projection whose bias is not that of the MLP."""
    return Part(
        features=("proj_bias",),
        fields=(
            ProviderField(
                "add_proj_bias",
                "bool",
                "False",
                expression(blueprint, "bias.o"),
                blueprint.value("bias.o"),
                "Bias of the attention output projection; `add_bias_linear` is that of the MLP.",
            ),
        ),
        settings=_linear_bias_settings(blueprint),
        module_types=((f"{naming.prefix}AttentionOutputLinear", "row"),),
    )


def _linear_bias_settings(blueprint: Blueprint) -> tuple[ProviderSetting, ...]:
    """With a block for the projections that differ, `add_bias_linear` is that of the MLP alone."""
    return tuple(
        ProviderSetting(attribute, blueprint.value(fact), expression(blueprint, fact))
        for attribute, fact in (("add_bias_linear", "bias.mlp"), ("add_qkv_bias", "bias.qkv"))
    )


def _no_qkv_bias(blueprint: Blueprint, naming: Naming) -> Part:
    # Megatron-Bridge knows a projection with a fused norm by the tail of its class name.
    fused = input_norm_is_fused(blueprint)
    return Part(
        features=("no_qkv_bias",),
        settings=_linear_bias_settings(blueprint),
        module_types=() if fused else ((f"{naming.prefix}ColumnParallelLinear", "column"),),
    )


def _head_bias(blueprint: Blueprint, naming: Naming) -> Part:
    return Part(
        features=("head_bias",),
        names=(("head.bias", "head_bias"),),
        module_types=((f"{naming.prefix}HeadBias", "column"),),
    )


def _temperature(blueprint: Blueprint, naming: Naming) -> Part:
    names = (("beta", "float", "0.0"), ("length", "int", "1"), ("offset", "int", "0"))
    formula = "Queries grow with the position: 1 + beta * log(1 + floor((position + offset) / length))."
    fields = [
        ProviderField(
            f"query_temperature_{name}",
            annotation,
            default,
            expression(blueprint, f"attention.temperature.{name}"),
            blueprint.value(f"attention.temperature.{name}"),
            formula,
        )
        for name, annotation, default in names
        if blueprint.fact(f"attention.temperature.{name}") is not None
    ]
    features = ["query_temperature"]
    if blueprint.fact("attention.temperature.offset") is not None:
        features.append("query_temperature_offset")
    if blueprint.fact("attention.temperature.layers") is not None:
        features.append("query_temperature_some")
        comment = "Whether the queries of a layer grow with the position."
        fields.append(layer_flags(blueprint, "attention.temperature.layers", "query_temperature_layers", comment))
    return Part(features=tuple(features), fields=tuple(fields))


def _chunks(blueprint: Blueprint, naming: Naming) -> Part:
    return Part(
        features=("core_attention", "chunks"),
        fields=(
            ProviderField(
                "attention_chunk_sizes",
                "list[int | None] | None",
                "None",
                expression(blueprint, "attention.chunk"),
                list(blueprint.value("attention.chunk")),
                "Positions of one chunk, beyond which a query of the layer sees nothing; None has no chunks.",
            ),
        ),
    )


ROWS: tuple[BlockRow, ...] = (
    BlockRow(
        "query temperature",
        "queries are scaled by a factor that grows with the position",
        (
            *("attention.temperature.beta", "attention.temperature.length"),
            *("attention.temperature.offset", "attention.temperature.layers"),
        ),
        lambda blueprint: is_number(blueprint.value("attention.temperature.beta")),
        _temperature,
    ),
    BlockRow(
        "attention softcap",
        "attention scores are capped by tanh, which the fused kernels of Transformer Engine do not do",
        ("attention.softcap",),
        lambda blueprint: is_number(blueprint.value("attention.softcap")),
        _softcap,
    ),
    BlockRow(
        "windows of several sizes",
        "megatron-core has one window size and a choice of layers that use it",
        ("attention.window",),
        lambda blueprint: len(window_sizes(blueprint)) > 1,
        _windows,
    ),
    BlockRow(
        "chunked attention",
        "a query sees the keys of its own chunk alone; megatron-core has windows, no chunks",
        ("attention.chunk",),
        lambda blueprint: any(blueprint.value("attention.chunk") or []),
        _chunks,
    ),
    BlockRow(
        "ALiBi",
        "positions enter as a bias on the scores, which no megatron-core option adds",
        ("position.kind", "position.alibi.multiplier", "position.alibi.rounded"),
        lambda blueprint: blueprint.value("position.kind") == "alibi",
        _alibi,
    ),
    BlockRow(
        "clipped projections",
        "queries, keys and values are clamped after their projection",
        ("attention.clip_qkv",),
        lambda blueprint: is_number(blueprint.value("attention.clip_qkv")),
        _clip,
    ),
    BlockRow(
        "attention output bias",
        "megatron-core gives the attention output projection a bias exactly when the MLP has biases",
        ("bias.o", "bias.mlp", "bias.qkv"),
        lambda blueprint: _differs(blueprint, "bias.o", "bias.mlp"),
        proj_bias_part,
    ),
    BlockRow(
        "no query, key and value bias",
        "megatron-core gives the query, key and value projection a bias whenever the MLP has biases",
        ("bias.o", "bias.mlp", "bias.qkv"),
        lambda blueprint: blueprint.value("bias.mlp") is True and blueprint.value("bias.qkv") is False,
        _no_qkv_bias,
    ),
    BlockRow(
        "learned positions",
        "Megatron-Bridge does not know how the position embedding of megatron-core is split over ranks: not at all",
        (),
        lambda blueprint: blueprint.value("position.kind") == "learned",
        lambda blueprint, naming: Part(module_types=(("Embedding", "replicated"),)),
    ),
    BlockRow(
        "head bias",
        "megatron-core's output layer has no bias",
        ("bias.head",),
        lambda blueprint: blueprint.value("bias.head") is True or has(blueprint, "head", "bias"),
        _head_bias,
    ),
)
