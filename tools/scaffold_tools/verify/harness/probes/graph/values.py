"""Numbers out of captured tensors: the factor between two tensors, the chain of scalar operators between two values.

Tolerances are those of float32, because modeling code casts norms, softmax and rotary tables to float32 even when the
model is float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from probes.graph.trace import VIEWS, Graph, Node, Ref

TOLERANCE = 2e-5
"""Largest relative misfit at which a formula counts as measured."""
SCALARS = frozenset({"mul", "div"})


MASK = 1e30
"""Larger numbers are minima of a type, with which code masks scores: their squares overflow."""


class Unmeasured(Exception):
    """A measurement that did not come out; the text says what was seen instead."""


def misfit(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference, relative to the largest expected value."""
    scale = expected.abs().max().clamp_min(1e-300)
    return float((found - expected).abs().max() / scale)


def ratio(numerator: torch.Tensor, denominator: torch.Tensor) -> float | None:
    """c where numerator == c * denominator everywhere, else None; the numbers of masks tell nothing."""
    top, bottom = numerator.double().flatten(), denominator.double().flatten()
    if top.numel() == bottom.numel() and bool((bottom.abs() > MASK).any()):
        seen = bottom.abs() <= MASK
        top, bottom = top[seen], bottom[seen]
    square = torch.dot(bottom, bottom)
    if top.numel() != bottom.numel() or float(square) == 0.0:
        return None
    factor = torch.dot(top, bottom) / square
    if misfit(bottom * factor, top) > TOLERANCE:
        return None
    return clean(float(factor))


def clean(value: float) -> float:
    """A measured factor, with float32 noise around small rationals removed (1.0000000119 is 1)."""
    near = round(value * 4096) / 4096
    return near if near and abs(value - near) <= 1e-6 * abs(near) else float(f"{value:.7g}")


def unscaled(graph: Graph, value: int) -> int:
    """Go back through layout changes and factors that are one number for all entries."""
    while True:
        value = graph.resolve(value)
        node = graph.made_by(value)
        if node is None or node.op not in SCALARS:
            return value
        data = graph.data_inputs(node)
        if len(data) != 1 or not is_scalar_factor(graph, node, data[0]):
            return value
        value = data[0]


def is_scalar_factor(graph: Graph, node: Node, data: int) -> bool:
    """Whether a mul/div multiplies `data` by one number that is no parameter (divides, for div: data on top)."""
    if node.op not in SCALARS or not node.args or node.args[0] != Ref(data):
        return node.op == "mul" and _others_scalar(graph, node, data)
    return _others_scalar(graph, node, data)


def _others_scalar(graph: Graph, node: Node, data: int) -> bool:
    for other in node.inputs:
        if other == data:
            continue
        if graph.tensors[other].numel() != 1 or any(value in graph.params for value in graph.ancestors(other)):
            return False
    return node.inputs.count(data) == 1


def uses(graph: Graph, value: int) -> list[Node]:
    """Nodes other than layout changes that take a value, in any layout or dtype, in call order."""
    found: dict[int, Node] = {}
    todo, seen = [value], {value}
    while todo:
        for node in graph.users(todo.pop()):
            if node.op in VIEWS:
                fresh = [out for out in node.outputs if out not in seen]
                seen.update(fresh)
                todo.extend(fresh)
            else:
                found[node.index] = node
    return [found[index] for index in sorted(found)]


@dataclass(frozen=True)
class Bend:
    """What lies between a raw product and its last form: `factor * raw`, or `cap * tanh(factor * raw / cap)`."""

    factor: float
    cap: float | None
    where: str | None


def bend(
    graph: Graph, raw: torch.Tensor, last: torch.Tensor, tanh: Node | None, pick: torch.Tensor | None = None
) -> Bend:
    """Measure factor and softcap between `raw` and `last` (same shape), on the entries of the mask `pick`.

    Raises:
        Unmeasured: the two are related in another way.
    """

    def chosen(tensor: torch.Tensor) -> torch.Tensor:
        shaped = tensor.reshape(raw.shape).double()
        return shaped if pick is None else shaped[pick]

    if tanh is None:
        factor = ratio(chosen(last), chosen(raw))
        if factor is None:
            raise Unmeasured("the values are no multiple of the raw product")
        return Bend(factor, None, None)
    cap = ratio(chosen(last), chosen(graph.tensors[tanh.outputs[0]]))
    inner = ratio(chosen(graph.tensors[tanh.inputs[0]]), chosen(raw))
    if cap is None or inner is None:
        raise Unmeasured("a tanh that is no softcap c*tanh(x/c)")
    return Bend(clean(inner * cap), clean(cap), tanh.where)
