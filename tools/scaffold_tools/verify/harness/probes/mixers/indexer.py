"""Key selection: which keys a query attends to is computed from the tokens (DeepSeek sparse attention).

A light second attention, the indexer, scores every earlier key; a query sees the best few. Its heads share one key,
and a linear weighs them: score[s, t] = sum over heads h of w[s, h] * relu(q[s, h] . k[t]) (DeepSeek-V3.2, section 2).
Nothing is believed of it: rotation, norm, and the function between are tried until one gives the scores seen.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch

from probes.graph.structure import Linear, Norm, Site
from probes.graph.trace import Graph, Node
from probes.graph.values import TOLERANCE, Unmeasured, misfit
from probes.mixers.rope import Rotation
from probes.norms import fit_norm

LINEARS = ("indexer.q", "indexer.k", "indexer.weights")
K_NORM = "indexer.k_norm"


@dataclass(frozen=True)
class Choice:
    """The choice of keys for one attention."""

    topk: Node
    """What keeps the best keys."""
    linears: tuple[Linear, ...]
    """Of the indexer, where this layer has one: its scores come from them. Else another layer's choice is used."""
    norms: tuple[Norm, ...]
    """Norms on the outputs of these linears."""


@dataclass(frozen=True)
class Indexer:
    """What one indexer computes."""

    q: Linear
    k: Linear
    weights: Linear
    norm: Norm
    relu: bool
    pairing: str
    eps: float


def find_choice(graph: Graph, site: Site, inside: list[Linear], norms: list[Norm]) -> Choice | None:
    """The selection behind the mask on an attention's scores; None where the mask does not depend on the tokens.

    Args:
        inside: linears of the layer that are no projections of its attention.
        norms: of the whole model.
    """
    between = {value for node in site.between for value in node.outputs} | {site.product.outputs[0]}
    masks = [
        value
        for node in site.between
        for value in graph.data_inputs(node)
        if graph.resolve(value) not in {graph.resolve(one) for one in between}
    ]
    nodes = {graph.producer[value] for mask in masks for value in graph.ancestors(mask)} - {None}
    found = [graph.nodes[index] for index in sorted(nodes) if graph.nodes[index].op == "topk"]
    if not found:
        return None
    behind = graph.ancestors(found[-1].inputs[0], {one.y for one in inside})
    own = tuple(one for one in inside if one.y in behind)
    mine = {graph.resolve(one.y) for one in own}
    return Choice(found[-1], own, tuple(norm for norm in norms if graph.resolve(norm.x) in mine))


def chosen_keys(graph: Graph, choice: Choice) -> torch.Tensor:
    """[S, S]: the keys that a query may see, later ones included."""
    index = graph.tensors[choice.topk.outputs[1]].reshape(graph.length, -1)
    return torch.zeros(graph.length, graph.length, dtype=torch.bool).scatter(-1, index, True)


def read_indexer(graph: Graph, choice: Choice, turn: Rotation | None, tensors: dict[str, torch.Tensor]) -> Indexer:
    """Measure the formula of an indexer.

    Args:
        turn: the rotation of the attention itself; the indexer's first dimensions turn with the same frequencies.

    Raises:
        Unmeasured: its scores follow another formula.
    """
    if len(choice.linears) != 3 or len(choice.norms) != 1 or turn is None:
        seen = ", ".join(f"{one.weight} {one.inputs}->{one.outputs}" for one in choice.linears) or "none"
        raise Unmeasured(f"keys are chosen by other means than an indexer of three linears and a norm: {seen}")
    norm = choice.norms[0]
    fit = fit_norm(graph, norm, tensors)
    if fit.kind != "layernorm" or not fit.bias or fit.zero_centered:
        raise Unmeasured(f"the indexer's keys have a {fit.kind}, not a LayerNorm with a bias")
    length = graph.length
    causal = torch.ones(length, length).tril().bool()
    target = graph.tensors[choice.topk.inputs[0]].double().reshape(length, length)[causal]
    for q, k, weights in itertools.permutations(choice.linears):
        if q.outputs != k.outputs * weights.outputs or graph.resolve(k.y) != graph.resolve(norm.x):
            continue
        queries = graph.rows(q.y).reshape(length, weights.outputs, k.outputs)
        keys = graph.rows(norm.y)[:, None]
        for pairing, relu in itertools.product(("half", "interleaved"), (True, False)):
            products = torch.einsum("shd,txd->sht", _turned(queries, turn, pairing), _turned(keys, turn, pairing))
            scores = ((products.relu() if relu else products) * graph.rows(weights.y)[..., None]).sum(1)[causal]
            factor = float((scores * target).sum() / scores.square().sum())
            if factor > 0 and misfit(scores * factor, target) < TOLERANCE:
                return Indexer(q, k, weights, norm, relu, pairing, fit.eps)
    raise Unmeasured("the scores by which keys are chosen follow no known formula")


def _turned(states: torch.Tensor, turn: Rotation, pairing: str) -> torch.Tensor:
    """[S, heads, dim] with the first dimensions rotated."""
    width = turn.dim
    if states.shape[-1] < width:
        raise Unmeasured("the indexer's heads are narrower than the rotation")
    angles = torch.arange(states.shape[0]).double()[:, None] * torch.tensor(turn.inv_freq, dtype=torch.float64)
    cos, sin = (turn.factor * table(angles)[:, None] for table in (torch.cos, torch.sin))
    part, rest = states[..., :width], states[..., width:]
    if pairing == "half":
        one, other = part.chunk(2, dim=-1)
        return torch.cat((one * cos - other * sin, other * cos + one * sin, rest), dim=-1)
    one, other = part[..., 0::2], part[..., 1::2]
    return torch.cat((torch.stack((one * cos - other * sin, other * cos + one * sin), -1).flatten(-2), rest), dim=-1)


def indexer_facts(graph: Graph, choice: Choice, indexer: Indexer) -> dict[str, tuple[Any, str | None]]:
    """Facts of one indexer, by name: (value, source line)."""
    where = indexer.q.where
    return {
        "indexer.heads": (indexer.weights.outputs, indexer.weights.where),
        "indexer.head_dim": (indexer.k.outputs, indexer.k.where),
        "indexer.top_k": (int(graph.tensors[choice.topk.outputs[1]].shape[-1]), choice.topk.where),
        "indexer.relu": (indexer.relu, where),
        "indexer.pairing": (indexer.pairing, where),
        "indexer.norm_eps": (indexer.eps, indexer.norm.where),
    }
