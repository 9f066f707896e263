"""A small config of the same architecture for the generated tests: sizes shrunk, everything else as in the model."""

from __future__ import annotations

from typing import Any

from scaffold_tools.blueprint.facts import Blueprint, Expression, PerLayer, Product
from scaffold_tools.targets.megatron_bridge.emission import plain_key

_LAYERS = 4
_TOP_ONLY = (
    "_name_or_path",
    "auto_map",
    "architectures",
    "transformers_version",
    "quantization_config",
    "torch_dtype",
)
_PADDING = "pad_token_id"
"""A row of the embedding in some classes, whose own default lies beyond a small one."""
_DROPPED_SUFFIXES = ("_token_id", "_token_ids", "_token_index")


def example_config(blueprint: Blueprint) -> dict[str, Any]:
    """Keys of config.json, small enough to build on any machine."""
    config = {use.key: use.value for use in blueprint.keys if _kept(use.key)}
    config["model_type"] = blueprint.model_type
    config |= {use.key: 0 for use in blueprint.keys if use.key == _PADDING and isinstance(use.value, int)}
    layers = _layers(blueprint, config)
    for name, size in _sizes(blueprint, layers).items():
        key = _size_key(blueprint, name)
        if key is not None and config.get(key) is not None:
            config[key] = size
    full = blueprint.value("num_layers", 0)
    for key, value in config.items():
        if isinstance(value, list) and len(value) == full:
            config[key] = value[:layers]
    for key in _window_keys(blueprint):
        if config.get(key) is not None:
            config[key] = 8
    if blueprint.config_part is not None:
        model_type = config.pop("model_type")
        return {"model_type": model_type, blueprint.config_part: config}
    return config


def _kept(key: str) -> bool:
    return "." not in key and not key.startswith("_") and key not in _TOP_ONLY and not key.endswith(_DROPPED_SUFFIXES)


def _size_key(blueprint: Blueprint, name: str) -> str | None:
    fact = blueprint.fact(name)
    return None if fact is None else plain_key(fact.expression)


def _sizes(blueprint: Blueprint, layers: int) -> dict[str, int]:
    """Distinct small sizes with the grouping of heads that the model has."""
    heads, groups = blueprint.value("num_attention_heads"), blueprint.value("num_query_groups")
    small = 4 if heads in (None, groups) else 1 if groups == 1 else 2
    experts = {"moe.num_experts": 8, "moe.top_k": min(2, blueprint.value("moe.top_k", 2))}
    grouped = blueprint.value("moe.groups", 1) > 1  # the number of experts goes with that of groups
    return {
        **({} if grouped else experts),
        "moe.ffn_hidden_size": 96,
        "num_layers": layers,
        "hidden_size": 128,
        "vocab_size": 512,
        "num_attention_heads": 4,
        "num_query_groups": small,
        "head_dim": 32,
        "ffn_hidden_size": 192,
        "max_position_embeddings": 256,
        **_state_space_sizes(blueprint, hidden_size=128),
    }


def _state_space_sizes(blueprint: Blueprint, *, hidden_size: int) -> dict[str, int]:
    """Heads of Mamba 2 layers, where their channels are a multiple of the hidden size and no key of their own."""
    heads, head_dim, hidden = (blueprint.value(name) for name in ("mamba.heads", "mamba.head_dim", "hidden_size"))
    if not heads or not head_dim or not hidden or heads * head_dim % hidden:
        return {}
    if any(use.value == heads * head_dim for use in blueprint.keys if type(use.value) is int):
        return {}
    channels = heads * head_dim // hidden * hidden_size
    return {
        "mamba.head_dim": 16,
        "mamba.heads": channels // 16,
        "mamba.groups": 1 if blueprint.value("mamba.groups") == 1 else 2,
    }


def _layers(blueprint: Blueprint, config: dict[str, Any]) -> int:
    """As many layers as show every value of every per-layer list, and at least four where the model has them."""
    full = int(blueprint.value("num_layers", _LAYERS))
    needed = min(_LAYERS, full)
    for value in config.values():
        if isinstance(value, list) and len(value) == full:
            firsts = [value.index(item) + 1 for item in value]
            needed = max([needed, *firsts])
    return needed


def _window_keys(blueprint: Blueprint) -> list[str]:
    fact = blueprint.fact("attention.window")
    if fact is None or fact.expression is None:
        return []
    expression = fact.expression
    cases: list[Expression] = (
        [case for _, case in expression.cases] if isinstance(expression, PerLayer) else [expression]
    )
    return [
        key for case in cases if isinstance(case, Product) and (key := plain_key(case)) is not None and "." not in key
    ]
