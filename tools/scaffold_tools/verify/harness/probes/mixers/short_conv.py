"""Gated short convolutions in the place of attention: B * x, a depthwise convolution of a few taps, times C.

The mark is a convolution whose input is a product of rows of one projection (LFM2, arXiv 2511.23404, section 2.1).
"""

from __future__ import annotations

from probes.graph.structure import Linear, Norm, first_linear_after, sources
from probes.graph.trace import Graph, Node
from probes.graph.values import Unmeasured, misfit
from probes.mixers.own import (
    CLOSE,
    Mark,
    Mixer,
    by_channel,
    causal_convolution,
    filters,
    one_convolution,
    parameters,
    region,
)

KIND = "short_conv"
WHAT = "a gated short convolution"


def find(graph: Graph, norms: list[Norm], by_output: dict[int, Linear]) -> list[Mark]:
    """Every convolution of a product of data with data."""
    found = []
    for node in graph.nodes:
        if node.op != "convolution" or not graph.depends[node.inputs[0]]:
            continue
        product = graph.made_by(graph.resolve(node.inputs[0]))
        if product is not None and product.op == "mul" and len(graph.data_inputs(product)) == 2:
            found.append(Mark(node, lambda node=node: _read(graph, node, by_output)))
    return found


def _read(graph: Graph, node: Node, by_output: dict[int, Linear]) -> Mixer:
    behind, _ = sources(graph, node.inputs[0], by_output)
    if len(behind) != 1:
        raise Unmeasured(f"{WHAT} whose input comes from {len(behind)} projections, not one")
    inp, out = behind[0], first_linear_after(graph, node.outputs[0], by_output)
    values, nodes = region(graph, out.x, {inp.y})
    names, kernel = filters(graph, one_convolution(nodes, WHAT))
    channels = kernel[0].shape[0]
    rest = parameters(graph, values, {*names, inp.weight, inp.bias})
    if inp.outputs != 3 * channels or out.inputs != channels or rest:
        raise Unmeasured(f"{WHAT} of {channels} channels with {inp.outputs} rows and {', '.join(rest) or 'nothing'}")
    biases = {inp.bias is None, out.bias is None, names[1] is None}
    if len(biases) > 1:
        raise Unmeasured(f"{WHAT} with biases in some of its parts")
    thirds = graph.rows(inp.y).split(channels, dim=-1)
    for place in range(3):
        one, other = (third for index, third in enumerate(thirds) if index != place)
        y = causal_convolution(one * other, *kernel) * thirds[place]
        if misfit(y, by_channel(graph, out.x, channels)) < CLOSE:
            break
    else:
        raise Unmeasured(f"{WHAT} whose output could not be computed again")
    tensors = [(f"{KIND}.conv", name, param) for name, param in zip(names, ("weight", "bias"), strict=True) if name]
    facts = (
        *(("channels", channels), ("conv_width", kernel[0].shape[-1])),
        *(("bias", names[1] is not None), ("gate_place", place)),
    )
    return Mixer(KIND, ((f"{KIND}.in", inp),), (), out, tuple(tensors), facts, node.where)
