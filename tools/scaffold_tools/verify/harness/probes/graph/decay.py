"""The mark that recurrences with decay share: softplus of data, times minus the exponential of a parameter.

Mamba (arXiv 2312.00752), Mamba 2 (arXiv 2405.21060) and gated delta nets (arXiv 2412.06464) all have it; what stands
around it tells them apart.
"""

from __future__ import annotations

from collections.abc import Iterator

from probes.graph.trace import Graph, Node
from probes.graph.values import uses


def shifted_softplus(graph: Graph) -> Iterator[tuple[Node, int, str]]:
    """Every softplus(data + parameter): (the softplus, the data, name of the parameter)."""
    for node in graph.nodes:
        if node.op != "softplus" or not graph.depends[node.inputs[0]]:
            continue
        added = graph.made_by(graph.resolve(node.inputs[0]))
        if added is None or added.op != "add" or len(added.inputs) != 2:
            continue
        data = [one for one in added.inputs if graph.depends[one]]
        bias = [graph.params.get(graph.resolve(one)) for one in added.inputs if not graph.depends[one]]
        if len(data) == 1 and bias[0] is not None:
            yield node, data[0], bias[0]


def decays(graph: Graph, step: int, axes: int | None = None) -> Iterator[tuple[Node, str]]:
    """Products of a value with an expression of one parameter that has its exponential: (product, parameter).

    Args:
        graph: the recorded pass.
        step: the value, usually a step size.
        axes: how many axes the parameter has; None: any number.
    """
    for product in uses(graph, step):
        others = [one for one in product.inputs if not graph.depends[one]]
        if product.op != "mul" or len(others) != 1:
            continue
        behind = graph.ancestors(others[0])
        names = {graph.params[one]: one for one in behind if one in graph.params}
        if len(names) == 1 and any(graph.op(one) == "exp" for one in behind):
            name, value = next(iter(names.items()))
            if axes is None or graph.tensors[value].dim() == axes:
                yield product, name
