"""The gate on an attention's output: another half of the query projection, or a projection of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from probes.graph.structure import Linear
from probes.graph.trace import Graph
from probes.graph.values import TOLERANCE, misfit
from probes.skeleton import Layer, unused_operators

CURVES: tuple[tuple[str, Callable[[torch.Tensor], torch.Tensor]], ...] = (
    ("sigmoid", torch.sigmoid),
    ("softplus", F.softplus),
    ("silu", F.silu),
    ("tanh", torch.tanh),
)
"""Curves of gates; a row is a name of `attention.gate.curve` and the function."""


@dataclass(frozen=True)
class Gate:
    """What the output of an attention is multiplied by."""

    kind: str
    """`none`; `fused`: the sigmoid of the second half of each head's rows in the query projection; `separate`: the
    sigmoid of a projection as wide as the output; `own`: another curve of a projection, or one number a head;
    `unknown`."""
    projection: Linear | None = None
    curve: str = "sigmoid"
    by_head: bool = False


def query_half(graph: Graph, layer: Layer, heads: int, dim: int) -> int | None:
    """2 where the query projection has twice the rows of the queries, else None."""
    return 2 if layer.q.outputs == 2 * heads * dim and layer.q.node not in (layer.k.node, layer.v.node) else None


def output_gate(graph: Graph, layer: Layer) -> Gate:
    """The gate between an attention and its output projection (or a norm on that)."""
    if not unused_operators(graph, layer.site.context, layer.attended):
        return Gate("none")
    context = graph.tensors[layer.site.context].double()
    heads, dim = context.shape[0], context.shape[-1]
    flat = context.reshape(heads, graph.length, dim).transpose(0, 1).reshape(graph.length, -1)
    for one in layer.inside:
        if one.outputs not in (heads, heads * dim):
            continue
        numbers = graph.rows(one.y).repeat_interleave(heads * dim // one.outputs, dim=-1)
        for name, curve in CURVES:
            if misfit(graph.rows(layer.attended), flat * curve(numbers)) < TOLERANCE:
                plain = name == "sigmoid" and one.outputs != heads
                return Gate("separate" if plain else "own", one, name, one.outputs == heads)
    if layer.latent is None and query_half(graph, layer, heads, dim) is not None:
        gate = graph.rows(layer.q.y).reshape(graph.length, heads, 2, dim)[:, :, 1]
        if _is_gated(graph, layer, flat, gate.reshape(graph.length, -1)):
            return Gate("fused")
    return Gate("unknown")


def _is_gated(graph: Graph, layer: Layer, context: torch.Tensor, gate: torch.Tensor) -> bool:
    return misfit(graph.rows(layer.attended), context * torch.sigmoid(gate)) < TOLERANCE
