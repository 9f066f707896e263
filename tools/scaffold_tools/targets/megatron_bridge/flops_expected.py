"""The generated test of a provider's own count: sizes as its fields have them, and the number that the shapes give."""

from __future__ import annotations

import math
from typing import Any

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.render.literals import python_literal
from scaffold_tools.targets.megatron_bridge.blocks import BlockPlan
from scaffold_tools.targets.megatron_bridge.blocks.mixers import MIXERS

SEQ_LENGTH = 1024
"""Of the sequence that the test counts for; long enough that scores and windows show."""
BATCH_SIZE = 2
_PADDING = 128
"""`make_vocab_size_divisible_by` of a provider."""

_STOCK: tuple[tuple[str, str], ...] = (
    ("num_layers", "num_layers"),
    ("hidden_size", "hidden_size"),
    ("num_attention_heads", "num_attention_heads"),
    ("num_query_groups", "num_query_groups"),
    ("head_dim", "kv_channels"),
    ("ffn_hidden_size", "ffn_hidden_size"),
    ("mlp.gated", "gated_linear_unit"),
    ("vocab_size", "vocab_size"),
    ("moe.num_experts", "num_moe_experts"),
    ("moe.top_k", "moe_router_topk"),
    ("moe.ffn_hidden_size", "moe_ffn_hidden_size"),
    ("moe.shared_width", "moe_shared_expert_intermediate_size"),
)
"""(fact, field of GPTModelProvider)."""
_CORE: tuple[tuple[str, str], ...] = (
    ("mamba.heads", "mamba_num_heads"),
    ("mamba.head_dim", "mamba_head_dim"),
    ("mamba.groups", "mamba_num_groups"),
    ("mamba.state_dim", "mamba_state_dim"),
    ("mamba.conv_width", "mamba_conv_width"),
    ("delta.key_heads", "linear_num_key_heads"),
    ("delta.key_dim", "linear_key_head_dim"),
    ("delta.value_heads", "linear_num_value_heads"),
    ("delta.value_dim", "linear_value_head_dim"),
    ("delta.conv_width", "linear_conv_kernel_dim"),
)
"""(fact, field) of mixers of megatron-core."""
_LEFT_OUT = ("embed.", "head", "moe.router", "moe.shared.router")
"""Beginnings of roles of tables, of routers, and of the head, which is counted with its padding."""
_LISTS = ("mlp.layers", "mixer.layers", *(f"{row.kind}.layers" for row in MIXERS), "mamba.layers", "delta.layers")


def flops_test_words(blueprint: Blueprint, blocks: BlockPlan) -> dict[str, Any]:
    """Fields of the provider at the size of the model, and the count from its tensors."""
    own = [(field.fact, field.name) for row in MIXERS if row.kind in blocks.features for field in row.fields]
    fields = {name: blueprint.value(fact) for fact, name in (*_STOCK, *_CORE, *own)}
    listed = {field.name for field in blocks.provider_fields}
    fields |= {fact.replace(".", "_"): blueprint.value(fact) for fact in _LISTS if fact.replace(".", "_") in listed}
    if blueprint.value("moe.layers"):
        fields["moe_layer_freq"] = [int(flag) for flag in blueprint.value("moe.layers")]
    fields |= _windows(blueprint)
    return {
        "flop_fields": [{"name": name, "code": _code(value)} for name, value in fields.items() if value is not None],
        "flop_seq_length": SEQ_LENGTH,
        "flop_batch_size": BATCH_SIZE,
        "flop_count": int(6 * BATCH_SIZE * SEQ_LENGTH * multiplications(blueprint, SEQ_LENGTH)),
    }


def _code(value: Any) -> str:
    """A literal; flags of layers by the numbers of those that are fewer."""
    if not isinstance(value, list):
        return python_literal(value)
    whole = [bool(flag) for flag in value]
    if len(set(whole)) == 1:
        return f"[{python_literal(value[0])}] * {len(value)}"
    wanted = sum(whole) * 2 <= len(whole)
    numbers = tuple(layer for layer, flag in enumerate(whole) if flag is wanted)
    test = f"layer {'in' if wanted else 'not in'} {python_literal(numbers)}"
    return f"[{test if isinstance(value[0], bool) else f'int({test})'} for layer in range({len(value)})]"


def _windows(blueprint: Blueprint) -> dict[str, Any]:
    widths = blueprint.value("attention.window") or []
    near = [width for width in widths if width is not None]
    if not near:
        return {}
    return {"window_size": (near[0] - 1, 0), "window_attn_skip_freq": [int(width is not None) for width in widths]}


def multiplications(blueprint: Blueprint, seq_length: int) -> float:
    """Multiplications of one token in a forward pass, from the shapes of the tensors.

    Rows times columns of every matrix, for as many experts as a token meets; queries with keys and scores with values,
    for the positions that a query sees on average; the states of recurrent layers. Norms, activations and routers,
    which grow with the width alone, are left out.
    """
    top_k, experts = blueprint.value("moe.top_k") or 1, blueprint.value("moe.num_experts") or 1
    total = 0.0
    for row in blueprint.roles:
        if row.param != "weight" or len(row.shape) < 2 or row.role.startswith(_LEFT_OUT):
            continue
        count = math.prod(row.shape) * (1 if row.layers is None else len(row.layers))
        if row.role.startswith("moe.expert."):
            count = count * top_k // (experts if row.pattern.count("*") < 2 else 1)
        total += count
    vocab = -(-int(blueprint.value("vocab_size")) // _PADDING) * _PADDING
    total += vocab * int(blueprint.value("hidden_size"))
    return total + _scores(blueprint, seq_length) + _states(blueprint)


def _scores(blueprint: Blueprint, seq_length: int) -> float:
    output = blueprint.role("attn.o")
    if output is None:
        return 0.0
    width = int(blueprint.value("num_attention_heads")) * int(blueprint.value("head_dim"))
    windows = blueprint.value("attention.window") or [None] * int(blueprint.value("num_layers"))
    total = 0.0
    for layer in output.layers or ():
        window = windows[layer]
        seen = seq_length / 2
        if window is not None and window < seq_length:
            seen = window - window * (window - 1) / (2 * seq_length)
        total += 2 * width * seen
    return total


def _states(blueprint: Blueprint) -> float:
    """What recurrent layers multiply besides matrices: see the costs in `flops.py`, here from facts."""
    value = blueprint.value
    each = {
        "mamba": lambda: 7 * value("mamba.heads") * value("mamba.head_dim") * value("mamba.state_dim") / 2,
        "delta": lambda: 4 * value("delta.value_heads") * value("delta.value_dim") ** 2,
        "selective": lambda: 7 * value("selective.inner") * value("selective.state_dim") / 2,
        "lightning": lambda: 2 * value("lightning.width") ** 2 / value("lightning.heads"),
    }
    return sum(sum(value(f"{kind}.layers") or ()) * cost() for kind, cost in each.items() if value(f"{kind}.layers"))
