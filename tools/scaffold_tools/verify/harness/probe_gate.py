"""The gate on an attention's output: another half of the query projection, through a sigmoid."""

from __future__ import annotations

import torch
from probe_layers import Layer, unused_operators
from probe_trace import Graph
from probe_values import TOLERANCE, misfit


def query_half(graph: Graph, layer: Layer, heads: int, dim: int) -> int | None:
    """2 where the query projection has twice the rows of the queries, else None."""
    return 2 if layer.q.outputs == 2 * heads * dim and layer.q.node not in (layer.k.node, layer.v.node) else None


def output_gate(graph: Graph, layer: Layer) -> str:
    """`none`, `sigmoid` (of the second half of each head's rows in the query projection), or `unknown`."""
    between = unused_operators(graph, layer.site.context, layer.o.x)
    if not between:
        return "none"
    context = graph.tensors[layer.site.context].double()
    heads, dim = context.shape[0], context.shape[-1]
    if layer.latent is not None or query_half(graph, layer, heads, dim) is None:
        return "unknown"
    flat = context.reshape(heads, graph.length, dim).transpose(0, 1)
    gate = graph.rows(layer.q.y).reshape(graph.length, heads, 2, dim)[:, :, 1]
    expected = (flat * torch.sigmoid(gate)).reshape(graph.length, -1)
    return "sigmoid" if misfit(graph.rows(layer.o.x), expected) < TOLERANCE else "unknown"
