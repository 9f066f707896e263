"""Whether the residual of a sublayer is taken before the norm on its input, as usual, or after it."""

from __future__ import annotations

from probes.graph.structure import Norm
from probes.graph.trace import Graph
from probes.graph.values import is_scalar_factor, uses


def residual_is_normed(graph: Graph, norms: list[Norm], inputs: list[tuple[str, int]]) -> bool:
    """Whether in every layer the norm on the mixer's input is the layer's own, and what it puts out is added to.

    A norm on a sum that the next layer takes as it is belongs to the layer before.

    Args:
        inputs: (beginning of the names of a layer's tensors, what its mixer takes), layer by layer.
    """
    by_output = {graph.resolve(norm.y): norm for norm in norms}
    for prefix, value in inputs:
        norm = by_output.get(graph.resolve(value))
        if norm is None or norm.weight is None or not norm.weight.startswith(prefix) or not _is_added(graph, norm.y):
            return False
    return bool(inputs)


def _is_added(graph: Graph, value: int) -> bool:
    """Whether a value, or a number times it, is one side of a sum of data."""
    for node in uses(graph, value):
        if node.op == "add" and len(graph.data_inputs(node)) == 2:
            return True
        taken = next(one for one in node.inputs if graph.resolve(one) == graph.resolve(value))
        if is_scalar_factor(graph, node, taken) and _is_added(graph, node.outputs[0]):
            return True
    return False
