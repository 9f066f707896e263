"""Tensors that hold several parts: which mapping class takes them to Megatron, known there or brought along."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from scaffold_tools.blueprint.facts import Blueprint


@dataclass(frozen=True)
class Packing:
    """How one fused Hugging Face tensor reaches Megatron. `name` None: Megatron's own layout, a plain rename."""

    role: str
    packing: str
    when: Callable[[Blueprint], bool]
    name: str | None
    comment: str = ""


def _always(_: Blueprint) -> bool:
    return True


def _no_groups(blueprint: Blueprint) -> bool:
    return blueprint.value("num_query_groups") in (None, blueprint.value("num_attention_heads"))


@dataclass(frozen=True)
class Local:
    """A mapping class that the family's folder brings along, since Megatron-Bridge has none for its layout."""

    name: str
    kind: str
    """`gate_up`: one tensor with both halves. `qkv`: one tensor with q, k and v, `q_kv`: one with k and v.
    `joined_gate_up`, `joined_qkv`: one tensor each, stored [in, out]."""
    order: tuple[str, ...] = ()
    """Parts of the fused tensor, first rows first."""
    blocks: str = "1"
    """The rows are cut into this many blocks, and each has all parts: Python source over `groups`."""
    interleaved: bool = False
    """Rows of the parts take turns one by one."""
    transposed: bool = False
    """Weights are stored [in, out]."""


PACKINGS: tuple[Packing, ...] = (
    Packing("attn.qkv", "concat:q,k,v", _always, "ConcatenatedQKVMapping", "[q; k; v] to groups of queries"),
    Packing("attn.qkv", "grouped:q,k,v", _always, None),
    Packing("attn.qkv", "per_head:q,k,v", _no_groups, None),
)
"""Layouts that Megatron-Bridge knows; the others come with a class of their own (`local_class`)."""

LAYOUT = re.compile(r"(concat|grouped|per_head|interleaved|blocks(?P<count>\d+)):(?P<order>[a-z,]+)")


def local_class(role: str, packing: str, blueprint: Blueprint, transposed: bool) -> Local | None:
    """The class for a fused tensor; None where no template unpacks it."""
    found = LAYOUT.fullmatch(packing)
    if found is None:
        return None
    order = tuple(found["order"].split(","))
    word, count = found[1], found["count"]
    if role == "mlp.gate_up" and set(order) == {"gate", "up"} and word in ("concat", "interleaved"):
        name = "FusedGatedMLPMapping" if order[0] == "gate" else "FusedUpGateMLPMapping"
        return Local(name, "gate_up", order, interleaved=word == "interleaved", transposed=transposed)
    if role == "attn.qkv" and set(order) == {"q", "k", "v"} and word != "interleaved":
        if word == "per_head" and not _no_groups(blueprint):
            return None
        blocks = count or {"concat": "1"}.get(word, "groups")
        return Local("FusedQKVMapping", "qkv", order, blocks=blocks, transposed=transposed)
    return None
