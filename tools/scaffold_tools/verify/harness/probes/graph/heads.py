"""Norms that code applies head by head, each with a weight of its own, put together as one norm over all heads."""

from __future__ import annotations

from dataclasses import replace

from probes.graph.structure import Norm
from probes.graph.trace import PARTS, Graph


def join_heads(graph: Graph, norms: list[Norm]) -> list[Norm]:
    """The norms, with those of single heads in the place of the first of them as one norm.

    Their inputs are the parts of one value, and their outputs are joined by one `cat`, in the same order.
    """
    found = list(norms)
    for node in graph.nodes:
        if node.op != "cat" or len(node.inputs) < 2:
            continue
        own = [_made_by(graph, norms, value) for value in node.inputs]
        heads = [norm for norm in own if norm is not None and norm.weight]
        sources = {_whole(graph, norm) for norm in heads}
        if len(heads) != len(node.inputs) or len({id(norm) for norm in heads}) != len(heads) or len(sources) != 1:
            continue
        source, first = sources.pop(), heads[0]
        if source is None or graph.tensors[source].shape != graph.tensors[node.outputs[0]].shape:
            continue
        weights = tuple(str(norm.weight) for norm in heads)
        biases = tuple(norm.bias for norm in heads if norm.bias)
        joined = replace(
            first, x=graph.resolve(source), source=source, y=node.outputs[0], weights=weights, biases=biases
        )
        found[found.index(first)] = joined
        found = [norm for norm in found if norm not in heads]
    return found


def _made_by(graph: Graph, norms: list[Norm], value: int) -> Norm | None:
    return next((norm for norm in norms if graph.resolve(norm.y) == graph.resolve(value)), None)


def _whole(graph: Graph, norm: Norm) -> int | None:
    """What the input of a norm is a part of."""
    node = graph.made_by(norm.source)
    return node.inputs[0] if node is not None and node.op in PARTS else None
