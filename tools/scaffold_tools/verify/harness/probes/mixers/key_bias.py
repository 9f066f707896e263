"""A bias on the scores that each key computes from its values, and that chooses which keys are seen.

Dynamic mask attention (arXiv 2412.11834): `exp(rate * softplus(projection(values)))`, one number a key and key/value
head; a query sees the keys before it that have the largest ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from probes.graph.structure import Linear
from probes.graph.trace import Graph
from probes.graph.values import TOLERANCE, Unmeasured, misfit
from probes.mixers.attention import visible
from probes.skeleton import Layer


@dataclass(frozen=True)
class KeyBias:
    """What is added to the scores of one attention."""

    projection: Linear
    rate: str
    """Name of a tensor with one number a key/value head."""
    keep: int | None
    """Keys that a query sees, the largest ones; None where it sees all before it."""
    added: torch.Tensor
    """[heads, 1, S]."""


def find_key_bias(graph: Graph, layer: Layer) -> KeyBias | None:
    """The bias that keys compute; None where nothing that depends on the tokens is added to the scores.

    Raises:
        Unmeasured: keys compute a bias of this form, but see other keys than the largest ones.
    """
    seen = visible(graph, layer)
    for added in _data_masks(graph, layer):
        for linear in layer.inside:
            if linear.y not in graph.ancestors(added) or not _takes_values(graph, layer, linear):
                continue
            for rate in _rates(graph, added, linear):
                found = _fit(graph, added, linear, rate, seen)
                if found is not None:
                    return KeyBias(linear, graph.params[rate], _kept(found, seen), found)
    return None


def _data_masks(graph: Graph, layer: Layer) -> list[int]:
    """Values [.., S, S] that depend on the tokens and are added to the scores."""
    scores = {layer.site.product.outputs[0]} | {value for node in layer.site.between for value in node.outputs}
    known = {graph.resolve(value) for value in scores}
    return [
        value
        for node in layer.site.between
        if node.op == "add"
        for value in graph.data_inputs(node)
        if graph.resolve(value) not in known and graph.tensors[value].shape[-2:] == (graph.length, graph.length)
    ]


def _takes_values(graph: Graph, layer: Layer, linear: Linear) -> bool:
    x, values = graph.rows(linear.x), graph.rows(layer.v.y)
    return x.shape == values.shape and misfit(x, values) < TOLERANCE


def _rates(graph: Graph, added: int, linear: Linear) -> list[int]:
    behind = graph.ancestors(added, {linear.y})
    return [one for one in behind if one in graph.params and graph.tensors[one].shape == (linear.outputs,)]


def _fit(graph: Graph, added: int, linear: Linear, rate: int, seen: torch.Tensor) -> torch.Tensor | None:
    """[heads, 1, S], where the formula gives what is added wherever a key is seen."""
    heads = seen.shape[0]
    if heads % linear.outputs:
        return None
    made = torch.exp(graph.tensors[rate].double() * F.softplus(graph.rows(linear.y))).T
    bias = made.repeat_interleave(heads // linear.outputs, dim=0)[:, None]
    captured = graph.tensors[added].double().expand(1, heads, graph.length, graph.length)[0]
    return bias if misfit(bias.expand_as(captured)[seen], captured[seen]) < TOLERANCE else None


def _kept(bias: torch.Tensor, seen: torch.Tensor) -> int | None:
    length = seen.shape[-1]
    causal = torch.ones(length, length).tril().bool()
    keep = int(seen.sum(-1).max())
    lowest = torch.finfo(bias.dtype).min
    order = bias.expand(seen.shape).masked_fill(~causal, lowest).topk(keep, dim=-1).indices
    expected = torch.zeros_like(seen).scatter(-1, order, True) & causal
    if not torch.equal(expected, seen):
        raise Unmeasured("queries see other keys than those of the largest bias before them")
    return None if keep == length else keep
