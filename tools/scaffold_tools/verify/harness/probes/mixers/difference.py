"""Differential attention: of two heads, each with the values of both, one output is subtracted from the other.

arXiv 2410.05258, section 2: with `lambda = exp(q1.k1) - exp(q2.k2) + start`, heads i and i + heads/2 give
`(1 - start) * norm(first - lambda * second)`, and `start = base - drop * exp(-rate * layer)`.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch

from probes.graph.structure import find_norms
from probes.graph.trace import Graph
from probes.graph.values import TOLERANCE, Unmeasured, misfit
from probes.mixers.attention import arrange
from probes.norms import fit_norm
from probes.notebook import Notebook, note_tensor
from probes.skeleton import Layer, unused_operators

ROLES = ("attn.difference.q1", "attn.difference.k1", "attn.difference.q2", "attn.difference.k2")
NORM_ROLE = "attn.difference.norm"
START = "attention.difference.start"
DIGITS = (2, 3, 4)
"""Decimals that fitted constants may have: three layers are always on some curve, but not on one of round numbers."""


@dataclass(frozen=True)
class Difference:
    """What happens between the two halves of the heads and the output projection."""

    names: tuple[str, ...]
    """The vectors of lambda in the order of `ROLES`."""
    start: float
    """The constant in lambda, which belongs to the layer."""
    eps: float
    """Epsilon of the RMSNorm on the difference."""
    weight: str | None
    """Name of that norm's weight [2 * head_dim], where it has one; all pairs of heads share it."""
    values: torch.Tensor
    """[heads, S, head_dim]: the values of every head alone."""
    where: str


def find_difference(graph: Graph, layer: Layer) -> Difference | None:
    """The difference between two halves of the heads; None where no head has the values of two.

    Raises:
        Unmeasured: heads have the values of two and are subtracted, but not by the formula above.
    """
    wide, count = graph.tensors[layer.site.v].double(), graph.tensors[layer.site.q].shape[0]
    between = unused_operators(graph, layer.site.context, layer.attended)
    subtractions = [node for node in between if node.op == "sub"]
    if wide.shape[-1] != 2 * graph.tensors[layer.site.q].shape[-1] or not subtractions:
        return None
    values = _values(graph, layer, wide)
    first, second = graph.tensors[layer.site.context].double().split(count // 2)
    total = subtractions[0].outputs[0]
    difference = arrange(graph, total, count // 2)
    factor = float(((first - difference) * second).sum() / second.square().sum())
    if misfit(first - factor * second, difference) > TOLERANCE:
        raise Unmeasured("differential attention whose second half is subtracted with no common factor")
    start, eps, weight = _normed(graph, layer, total, count // 2)
    names = _vectors(graph, (total, layer.site.context), factor - start, wide.shape[-1] // 2)
    return Difference(names, start, eps, weight, values, subtractions[0].where)


def _values(graph: Graph, layer: Layer, wide: torch.Tensor) -> torch.Tensor:
    """Values of single heads: heads i and i + heads/2 both have those of the two, one after the other."""
    half = wide.shape[0] // 2
    if wide.shape[0] % 2 or not torch.equal(wide[:half], wide[half:]):
        raise Unmeasured("differential attention whose halves of the heads have different values")
    values = torch.cat(wide[:half].chunk(2, dim=-1))
    projected = graph.rows(layer.v.y).reshape(graph.length, -1, values.shape[-1]).transpose(0, 1)
    if layer.v.node not in (layer.q.node, layer.k.node):
        repeats = len(values) // len(projected)
        if not torch.equal(projected.repeat_interleave(repeats, dim=0), values):
            raise Unmeasured("differential attention whose values are not those of heads i and i + heads/2")
    return values


def _normed(graph: Graph, layer: Layer, total: int, pairs: int) -> tuple[float, float, str | None]:
    """(start, epsilon, weight) of `(1 - start) * norm(difference)`, which the output projection takes pair by pair."""
    norm = next((one for one in find_norms(graph) if one.x == graph.resolve(total)), None)
    if norm is None:
        raise Unmeasured("differential attention without a norm on the difference")
    fit = fit_norm(graph, norm, {name: graph.tensors[value] for value, name in graph.params.items()})
    normed = arrange(graph, norm.y, pairs)
    width = normed.shape[-1]
    plain = not fit.bias and not fit.zero_centered and fit.shape in ((), (width,))
    if fit.kind != "rmsnorm" or not plain or fit.width != width:
        raise Unmeasured("differential attention whose difference goes through no plain RMSNorm over two heads")
    (taken,) = graph.data_inputs(graph.nodes[layer.o.node])
    seen = graph.rows(taken).reshape(graph.length, pairs, -1).transpose(0, 1)
    factor = float((seen * normed).sum() / normed.square().sum())
    if misfit(normed * factor, seen) > TOLERANCE:
        raise Unmeasured("differential attention with more than a factor between norm and output projection")
    return 1.0 - factor, fit.eps, norm.weight


def _vectors(graph: Graph, ends: tuple[int, int], rest: float, dim: int) -> tuple[str, ...]:
    """The four vectors with `exp(q1.k1) - exp(q2.k2) == rest`, found by which are multiplied with each other."""
    total, context = ends
    behind = graph.ancestors(total, {context})
    names = {value: name for value, name in graph.params.items() if value in behind}
    pairs = [
        tuple(graph.resolve(value) for value in node.inputs)
        for node in graph.nodes
        if node.op == "mul" and set(node.outputs) & behind and len(node.inputs) == 2
    ]
    pairs = [pair for pair in pairs if all(one in names and graph.tensors[one].shape == (dim,) for one in pair)]
    for plus, minus in itertools.permutations(pairs, 2):
        sums = [float((graph.tensors[a].double() * graph.tensors[b].double()).sum()) for a, b in (plus, minus)]
        if abs(math.exp(sums[0]) - math.exp(sums[1]) - rest) < TOLERANCE * max(1.0, *map(math.exp, sums)):
            return tuple(names[one] for one in (*plus, *minus))
    raise Unmeasured("differential attention whose lambda is not exp(q1.k1) - exp(q2.k2) + start")


def difference_facts(book: Notebook, layer: Layer, found: Difference) -> dict[str, tuple[Any, str | None]]:
    """Write down roles; facts of one layer, whose constant `settle_difference` puts together with the others'."""
    layer.single_values = found.values
    for role, name in zip(ROLES, found.names, strict=True):
        note_tensor(book, role, name, "other")
    if found.weight is not None:
        note_tensor(book, NORM_ROLE, found.weight, "other")
    return {
        "attention.difference": (True, found.where),
        "attention.difference.eps": (found.eps, found.where),
        START: ((layer.index, found.start), found.where),
        "attention.output_gate": (False, found.where),
    }


def settle_difference(book: Notebook, columns: dict[str, list[Any]], where: dict[str, str | None]) -> None:
    """The constants of all layers as `base - drop * exp(-rate * layer)`."""
    starts = dict(columns.pop(START, []))
    if not starts:
        return
    place = where[START]
    fitted = book.attempt("attention.difference", lambda: fit_starts(starts), place)
    for name, value in zip(("base", "drop", "rate"), fitted or (), strict=fitted is not None):
        columns[f"attention.difference.{name}"] = [value] * len(starts)
        where[f"attention.difference.{name}"] = place


def fit_starts(starts: dict[int, float]) -> tuple[float, float, float]:
    """(base, drop, rate) from at least three layers, or from constants that do not depend on the layer.

    Raises:
        Unmeasured: the constants follow another rule, or there are too few of them to tell.
    """
    layers = sorted(starts)
    if max(starts.values()) - min(starts.values()) < TOLERANCE:
        return round(starts[layers[0]], DIGITS[-1]), 0.0, 0.0
    if layers[:3] != [0, 1, 2]:
        raise Unmeasured("constants of differential attention in too few layers to tell their rule")
    one, two = starts[0] - starts[1], starts[1] - starts[2]
    if one * two <= 0 or one == two:
        raise Unmeasured("constants of differential attention that do not approach a limit")
    rate = math.log(one / two)
    drop = -one / (1 - math.exp(-rate))
    found = (starts[0] + drop, drop, rate)
    for digits in DIGITS:
        base, drop, rate = (round(value, digits) for value in found)
        if all(abs(base - drop * math.exp(-rate * at) - seen) < TOLERANCE for at, seen in starts.items()):
            return base, drop, rate
    raise Unmeasured("constants of differential attention that are not base - drop * exp(-rate * layer)")
