"""What generated tests assert and what documents tell, from the same facts and settings as the bridge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.targets.megatron_bridge.emission import config_path, plain_key
from scaffold_tools.targets.megatron_bridge.rules import Setting

CALLS = ("mcore_to_hf_window_size",)
"""Functions that an asserted expression may call."""

_SIZES = {
    "num_layers": "num_layers",
    "hidden_size": "hidden_size",
    "ffn_hidden_size": "ffn_hidden_size",
    "vocab_size": "vocab_size",
    "num_attention_heads": "num_attention_heads",
    "num_query_groups": "num_query_groups",
    "head_dim": "kv_channels",
    "max_position_embeddings": "seq_length",
    "norm.eps": "layernorm_epsilon",
    "tied_embeddings": "share_embeddings_and_output_weights",
}


def expectations(blueprint: Blueprint, settings: Sequence[Setting]) -> list[dict[str, Any]]:
    """Groups of assertions on the provider: sizes that the base class converts, then what this bridge sets."""
    sizes = []
    for fact, attribute in _SIZES.items():
        found = blueprint.fact(fact)
        key = None if found is None else plain_key(found.expression)
        if key is not None and "." not in key:
            sizes.append(_equal(attribute, config_path(key)))
    own = [
        _equal(row.attribute, row.code) for row in settings if row.attribute not in _SIZES.values() and not row.imports
    ]
    functions = [
        {"left": f"provider.{row.attribute}", "right": row.code, "equal": False}
        for row in settings
        if row.imports and not row.code.startswith("partial(")  # two partials are never the same object
    ]
    groups = [
        {"name": "test_sizes", "title": "Sizes follow the config.", "rows": sizes},
        {"name": "test_architecture", "title": "What makes this architecture is set.", "rows": [*own, *functions]},
    ]
    return [group for group in groups if group["rows"]]


def _equal(attribute: str, code: str) -> dict[str, Any]:
    constant = code in ("True", "False", "None")
    loose = " if " in code or code.startswith("not ")  # these bind looser than the comparison
    code = f"({code})" if loose else code
    return {"left": f"provider.{attribute}", "right": code, "equal": not constant}


_PROPERTIES = (
    ("num_layers", "Layers"),
    ("hidden_size", "Hidden size"),
    ("ffn_hidden_size", "FFN hidden size"),
    ("num_attention_heads", "Attention heads"),
    ("num_query_groups", "Query groups"),
    ("head_dim", "Head dimension"),
    ("vocab_size", "Vocabulary size"),
    ("max_position_embeddings", "Context length"),
)

_FEATURES = (
    ("norm.kind", "rmsnorm", "Normalization: RMSNorm"),
    ("norm.kind", "layernorm", "Normalization: LayerNorm"),
    ("norm.zero_centered", True, "Zero-centered norm: the norm multiplies by 1 + weight"),
    ("mlp.gated", True, "Gated MLP: gate and up projections"),
    ("qk_norm.kind", "per_head", "QK layernorm: norm on the queries and keys of each head"),
    ("qk_norm.kind", "full", "QK layernorm: norm on all queries and all keys together"),
    ("position.kind", "rope", "Rotary positional embeddings"),
    ("bias.qkv", True, "QKV bias: query, key and value projections have biases"),
    ("tied_embeddings", True, "Tied embeddings: output projection and token embedding are one tensor"),
    ("residual.parallel", True, "Parallel layers: attention and MLP read the same residual"),
)


def document(blueprint: Blueprint) -> dict[str, Any]:
    """Properties and features for README and docs page."""
    features = [text for name, value, text in _FEATURES if blueprint.value(name) == value]
    heads, groups = blueprint.value("num_attention_heads"), blueprint.value("num_query_groups")
    if heads and groups and groups < heads:
        features.append("Grouped query attention: several query heads share keys and values")
    windows = [width for width in blueprint.value("attention.window") or [] if width is not None]
    if windows:
        features.append("Sliding window attention")
    for name, text in (
        ("logits.softcap", "Logit softcapping"),
        ("attention.softcap", "Attention softcapping"),
    ):
        if blueprint.value(name) is not None:
            features.append(text)
    rows = [(title, blueprint.value(name)) for name, title in _PROPERTIES]
    return {
        "properties": [{"name": title, "value": f"{value:,}"} for title, value in rows if isinstance(value, int)],
        "features": features,
    }
