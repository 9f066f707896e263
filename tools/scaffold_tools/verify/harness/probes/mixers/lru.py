"""Real-gated linear recurrent units of Griffin, after a causal convolution: found by their gates of blocks, proved by
computing their output again.

The mark is an exponential of -c * sigmoid(gate) * softplus(parameter) (De et al. 2024, arXiv 2402.19427, eq. 1-4).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from probes.graph.structure import Linear, Norm, first_linear_after, sources
from probes.graph.trace import Graph, Node
from probes.graph.values import Unmeasured, misfit, ratio
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

KIND = "lru"
WHAT = "a real-gated linear recurrent unit"


def find(graph: Graph, norms: list[Norm], by_output: dict[int, Linear]) -> list[Mark]:
    """Every product of data with the softplus of a parameter that has one value a channel."""
    found = []
    for node in graph.nodes:
        if node.op != "softplus" or graph.depends[node.inputs[0]]:
            continue
        name = graph.params.get(graph.resolve(node.inputs[0]))
        product = next((one for one in graph.users(node.outputs[0]) if one.op == "mul"), None)
        if name is None or product is None or len(graph.data_inputs(product)) != 1:
            continue
        channels = graph.tensors[product.outputs[0]].shape[-1]  # an activation may have one softplus for all
        if graph.tensors[node.inputs[0]].numel() == channels:
            found.append(Mark(product, lambda node=product, name=name: _read(graph, node, name, by_output)))
    return found


ACTIVATIONS = (
    ("gelu_tanh", lambda x: torch.nn.functional.gelu(x, approximate="tanh")),
    ("gelu", torch.nn.functional.gelu),
    ("silu", torch.nn.functional.silu),
    ("relu", torch.nn.functional.relu),
)
"""Curves of the branch that gates the output."""


def _read(graph: Graph, node: Node, rate: str, by_output: dict[int, Linear]) -> Mixer:
    behind, _ = sources(graph, node.outputs[0], by_output)
    out = first_linear_after(graph, node.outputs[0], by_output)
    both, _ = sources(graph, out.x, by_output)
    gates = [one for one in both if one not in behind]
    if len(behind) != 1 or len(gates) != 1:
        raise Unmeasured(f"{WHAT} with {len(behind)} input projections and {len(gates)} gates, not one of each")
    inp, gate = behind[0], gates[0]
    values, nodes = region(graph, out.x, {inp.y, gate.y})
    names, kernel = filters(graph, one_convolution(nodes, WHAT))
    biases = {one is not None for one in (inp.bias, gate.bias, out.bias, names[1])}
    if len(biases) > 1:
        raise Unmeasured(f"{WHAT} with biases in some of its projections")
    known = {inp.weight, inp.bias, gate.weight, gate.bias, rate, *names}
    rest = parameters(graph, values, known)
    vectors = {name: graph.tensors[value].double() for name, value in rest.items()}
    weights = [name for name, one in vectors.items() if one.dim() == 3]
    offsets = [name for name, one in vectors.items() if one.dim() == 2]
    if len(weights) != 2 or len(offsets) != 2 or len(vectors) != 4:
        raise Unmeasured(f"{WHAT} with the parameters {', '.join(sorted(rest))}")
    x = causal_convolution(graph.rows(inp.y), *kernel)
    decay = graph.tensors[next(value for value, name in graph.params.items() if name == rate)].double()
    unit = Unit(x, graph.rows(gate.y), torch.nn.functional.softplus(decay), graph.rows(node.outputs[0]))
    expected = by_channel(graph, out.x, x.shape[1])
    activation, power, order = _fit(unit, vectors, (weights, offsets), expected)
    tensors = [(f"{KIND}.decay", rate, "other")]
    tensors += [(f"{KIND}.{part}_gate", name, "weight") for part, name in zip(GATES, order[0], strict=True)]
    tensors += [(f"{KIND}.{part}_gate", name, "bias") for part, name in zip(GATES, order[1], strict=True)]
    tensors += [(f"{KIND}.conv", name, param) for name, param in zip(names, ("weight", "bias"), strict=True) if name]
    facts = (
        *(("width", x.shape[1]), ("heads", vectors[weights[0]].shape[0]), ("conv_width", kernel[0].shape[-1])),
        *(("bias", True in biases), ("activation", activation), ("power", power)),
    )
    return Mixer(KIND, ((f"{KIND}.gate", gate), (f"{KIND}.in", inp)), (), out, tuple(tensors), facts, node.where)


GATES = ("input", "decay")


@dataclass(frozen=True)
class Unit:
    """What a unit works on, captured; [S, channels] but for the rate [channels]."""

    x: torch.Tensor
    """After the convolution."""
    gate: torch.Tensor
    """Before its activation."""
    rate: torch.Tensor
    log_decay: torch.Tensor


def _fit(
    unit: Unit, vectors: dict[str, torch.Tensor], names: tuple[list[str], list[str]], expected: torch.Tensor
) -> tuple[str, float, tuple[list[str], list[str]]]:
    """(activation of the gate, power, names of weights and biases of both gates) that give the captured output."""
    weights, offsets = names
    for ordered in (weights, weights[::-1]):
        for shifts in (offsets, offsets[::-1]):
            gates = [block_gate(unit.x, vectors[one], vectors[two]) for one, two in zip(ordered, shifts, strict=True)]
            power = ratio(unit.log_decay, -gates[1] * unit.rate)
            if power is None:
                continue
            states = gated_unit(unit.x * gates[0], unit.log_decay)
            for name, curve in ACTIVATIONS:
                if misfit(states * curve(unit.gate), expected) < CLOSE:
                    return name, power, (ordered, shifts)
    raise Unmeasured(f"{WHAT} whose output could not be computed again")


def block_gate(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """A gate that sees one block of channels.

    Args:
        x: [S, channels].
        weight: [blocks, in, out].
        bias: [blocks, out].
    """
    blocks = x.reshape(x.shape[0], weight.shape[0], -1)
    return torch.sigmoid(torch.einsum("sbi,bio->sbo", blocks, weight) + bias).reshape(x.shape)


def gated_unit(x: torch.Tensor, log_decay: torch.Tensor) -> torch.Tensor:
    """The recurrence of the RG-LRU (arXiv 2402.19427, eq. 4), where the first token is written as it is.

    Args:
        x, log_decay: [S, channels].
    """
    share = torch.sqrt(1 - torch.exp(2 * log_decay))
    state, outputs = x[0], [x[0]]
    for token in range(1, x.shape[0]):
        state = state * torch.exp(log_decay[token]) + x[token] * share[token]
        outputs.append(state)
    return torch.stack(outputs)
