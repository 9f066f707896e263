"""The gate on an attention's output: another half of the query projection, through a sigmoid."""

from __future__ import annotations

import torch

from probes.graph.structure import Linear
from probes.graph.trace import Graph
from probes.graph.values import TOLERANCE, misfit
from probes.layers import Layer, unused_operators


def query_half(graph: Graph, layer: Layer, heads: int, dim: int) -> int | None:
    """2 where the query projection has twice the rows of the queries, else None."""
    return 2 if layer.q.outputs == 2 * heads * dim and layer.q.node not in (layer.k.node, layer.v.node) else None


def output_gate(graph: Graph, layer: Layer) -> tuple[str, Linear | None]:
    """What the output of an attention is multiplied by before its projection.

    Returns:
        `none`; `fused`: the sigmoid of the second half of each head's rows in the query projection; `separate`: the
        sigmoid of a projection of its own, which is given too; `unknown`.
    """
    if not unused_operators(graph, layer.site.context, layer.attended):
        return "none", None
    context = graph.tensors[layer.site.context].double()
    heads, dim = context.shape[0], context.shape[-1]
    flat = context.reshape(heads, graph.length, dim).transpose(0, 1).reshape(graph.length, -1)
    for one in layer.inside:
        if one.outputs == heads * dim and _is_gated(graph, layer, flat, graph.rows(one.y)):
            return "separate", one
    if layer.latent is None and query_half(graph, layer, heads, dim) is not None:
        gate = graph.rows(layer.q.y).reshape(graph.length, heads, 2, dim)[:, :, 1]
        if _is_gated(graph, layer, flat, gate.reshape(graph.length, -1)):
            return "fused", None
    return "unknown", None


def _is_gated(graph: Graph, layer: Layer, context: torch.Tensor, gate: torch.Tensor) -> bool:
    return misfit(graph.rows(layer.attended), context * torch.sigmoid(gate)) < TOLERANCE
