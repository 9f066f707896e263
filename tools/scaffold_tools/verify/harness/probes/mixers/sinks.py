"""Attention sinks: one learnt number a head that takes part in the softmax and is dropped afterwards."""

from __future__ import annotations

import torch

from probes.graph.trace import Graph
from probes.graph.values import Unmeasured
from probes.notebook import Notebook, note_tensor
from probes.skeleton import Layer, Skeleton


def note_sinks(book: Notebook, skeleton: Skeleton) -> None:
    """The fact `attention.sinks` and the role of the parameters, for layers with a softmax."""
    layers = [layer for layer in skeleton.layers if layer.site is not None]
    if not layers:
        return
    graph = skeleton.graph
    found = [book.attempt("attention.sinks", lambda layer=layer: (sink_of(graph, layer),)) for layer in layers]
    names = [one[0] for one in found if one is not None]
    if len(names) < len(layers):
        return
    where = layers[0].site.softmax.where
    if len({name is None for name in names}) > 1:
        book.fail("attention.sinks", "some layers have sinks and some do not", where)
        return
    for name in names:
        if name is not None:
            note_tensor(book, "attn.sinks", name, "other")
    book.fact("attention.sinks", names[0] is not None, where)


def sink_of(graph: Graph, layer: Layer) -> str | None:
    """The parameter whose numbers, one a head, are the last column of the softmax's input; None without one.

    Raises:
        Unmeasured: the softmax has another column more than there are keys.
    """
    scores = layer.site.softmax.inputs[0]
    heads, keys = graph.tensors[layer.site.k].shape[0], graph.tensors[layer.site.k].shape[-1]
    if graph.tensors[scores].shape[-1] == keys:
        return None
    joins = [node for node in layer.site.between if node.op == "cat"]
    if len(joins) != 1 or graph.tensors[scores].shape[-1] != keys + 1:
        raise Unmeasured("the softmax is over more than the keys")
    extra = [value for value in joins[0].inputs if not graph.depends[value]]
    leaf = graph.resolve(extra[0]) if len(extra) == 1 else -1
    if leaf not in graph.params or graph.tensors[leaf].numel() != heads:
        raise Unmeasured("the softmax has a column that is no parameter with one number a head")
    column = graph.tensors[extra[0]].reshape(heads, -1)
    if not torch.equal(column, graph.tensors[leaf].reshape(heads, 1).expand_as(column)):
        raise Unmeasured("the softmax has a column that is no parameter with one number a head")
    return graph.params[leaf]
