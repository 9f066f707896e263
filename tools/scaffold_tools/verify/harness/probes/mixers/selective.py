"""State space layers of Mamba 1: found by a decay for every channel and state, proved by computing their output again.

The mark is softplus(projection) times -exp(A) with A [channels, state] (Gu and Dao 2023, arXiv 2312.00752, algorithm
2); steps, B and C come from one projection of the convolved input, with a norm on each in later models.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch

from probes.graph.decay import decays
from probes.graph.structure import Linear, Norm, first_linear_after, sources
from probes.graph.trace import Graph, Node
from probes.graph.values import Unmeasured, misfit
from probes.mixers.own import (
    CLOSE,
    Mark,
    Mixer,
    activated,
    by_channel,
    causal_convolution,
    epsilons,
    filters,
    one_convolution,
    parameters,
    region,
)

KIND = "selective"
WHAT = "a state space layer of Mamba 1"


def find(graph: Graph, norms: list[Norm], by_output: dict[int, Linear]) -> list[Mark]:
    """Every softplus of a projection that multiplies minus the exponential of a parameter [channels, state]."""
    found = []
    for node in graph.nodes:
        if node.op != "softplus" or not graph.depends[node.inputs[0]]:
            continue
        step = by_output.get(graph.resolve(node.inputs[0]))
        rate = next((name for _, name in decays(graph, node.outputs[0], axes=2)), None)
        if step is not None and rate is not None:
            found.append(Mark(node, lambda node=node, step=step, rate=rate: _read(graph, node, step, rate, by_output)))
    return found


def _read(graph: Graph, node: Node, step: Linear, rate: str, by_output: dict[int, Linear]) -> Mixer:
    low = _sole(graph, step.x, by_output, "steps")
    out = first_linear_after(graph, node.outputs[0], by_output)
    inp = _sole(graph, low.x, by_output, "the convolution")
    values, nodes = region(graph, out.x, {inp.y})
    convolution = one_convolution(nodes, WHAT)
    names, kernel = filters(graph, convolution)
    a_log = graph.tensors[next(value for value, name in graph.params.items() if name == rate)].double()
    inner, state = a_log.shape
    if inp.outputs != 2 * inner or low.outputs != step.inputs + 2 * state or out.inputs != inner or low.bias:
        raise Unmeasured(f"projections to {inp.outputs} and {low.outputs} rows are not those of {WHAT}")
    if step.bias is None or (inp.bias is None) != (out.bias is None):
        raise Unmeasured(f"steps without a bias, or only one projection with a bias, in {WHAT}")
    mixed, gate, gate_first = _convolved(graph, convolution, graph.rows(inp.y).split(inner, dim=-1), kernel)
    steps, expected = by_channel(graph, node.outputs[0], inner), by_channel(graph, out.x, inner)
    scan = Scan(mixed, steps, -a_log.exp(), gate, expected)
    known = {step.weight, step.bias, low.weight, rate, *names, inp.weight, inp.bias}
    skip, norm = _fit(graph, scan, (low, step), parameters(graph, values, known), epsilons(graph, nodes))
    tensors = [(f"{KIND}.A", rate, "other"), (f"{KIND}.D", skip, "other")]
    tensors += [(f"{KIND}.conv", name, param) for name, param in zip(names, ("weight", "bias"), strict=True) if name]
    tensors += [(f"{KIND}.norm_{part}", name, "weight") for part, name in zip(PARTS, norm.weights, strict=False)]
    facts = (
        *(("inner", inner), ("state_dim", state), ("rank", step.inputs), ("conv_width", kernel[0].shape[-1])),
        *(("conv_bias", names[1] is not None), ("proj_bias", inp.bias is not None), ("gate_first", gate_first)),
        ("norm", norm.kind),
        *([] if norm.kind == "none" else [("norm_eps", norm.eps)]),
    )
    inside = ((f"{KIND}.low", low), (f"{KIND}.step", step))
    return Mixer(KIND, ((f"{KIND}.in", inp),), inside, out, tuple(tensors), facts, node.where)


def _convolved(
    graph: Graph,
    convolution: Node,
    halves: tuple[torch.Tensor, ...],
    kernel: tuple[torch.Tensor, torch.Tensor | None],
) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """(input after convolution and silu, silu of the gate, whether the gate is the first half), [S, channels]."""
    inner = halves[0].shape[-1]
    x = by_channel(graph, convolution.inputs[0], inner)
    first = next((index for index, half in enumerate(halves) if misfit(half, x) < CLOSE), None)
    silu = activated(graph, convolution.outputs[0], "silu")
    if first is None or silu is None:
        raise Unmeasured(f"the convolution of {WHAT} does not act on half of the projection's rows, or without silu")
    mixed = torch.nn.functional.silu(causal_convolution(x, *kernel))
    if misfit(mixed, by_channel(graph, silu, inner)) > CLOSE:
        raise Unmeasured(f"the convolution of {WHAT} is not causal over the last tokens")
    return mixed, torch.nn.functional.silu(halves[1 - first]), first == 1


def _sole(graph: Graph, value: int, by_output: dict[int, Linear], what: str) -> Linear:
    found, _ = sources(graph, value, by_output)
    if len(found) != 1:
        raise Unmeasured(f"{what} of {WHAT} come from {len(found)} projections, not one")
    return found[0]


PARTS = ("dt", "B", "C")
"""Order of the rows that follow from the convolved input."""


@dataclass(frozen=True)
class Scan:
    """What a scan works on and what it must give, captured; [S, channels] but for the rate [channels, state]."""

    x: torch.Tensor
    step: torch.Tensor
    rate: torch.Tensor
    gate: torch.Tensor
    expected: torch.Tensor


@dataclass(frozen=True)
class LowNorm:
    """The RMSNorms on dt, B and C."""

    kind: str
    """`none`, `bare` (without weights) or `weighted`."""
    eps: float = 0.0
    weights: tuple[str, ...] = ()
    """Names of the weights of dt, B and C."""


def _fit(
    graph: Graph, scan: Scan, linears: tuple[Linear, Linear], rest: dict[str, int], eps: list[float]
) -> tuple[str, LowNorm]:
    """(the skip weight, norms) with which the scan gives what the output projection takes."""
    low, step = linears
    state = scan.rate.shape[1]
    dt, b, c = graph.rows(low.y).split([step.inputs, state, state], dim=-1)
    taken = graph.rows(step.x)
    vectors = {name: graph.tensors[value].double() for name, value in rest.items()}
    skips = [name for name, one in vectors.items() if one.numel() == scan.x.shape[1]]
    gammas = [name for name, one in vectors.items() if one.numel() in (state, step.inputs) and name not in skips]
    if len(skips) != 1 or len(gammas) not in (0, 3) or len(vectors) != 1 + len(gammas):
        raise Unmeasured(f"{WHAT} with the parameters {', '.join(sorted(rest))}")
    for norm in _norms(gammas, eps):
        gains = [vectors[name] for name in norm.weights] or [torch.ones(()).double()] * 3
        if any(gain.dim() and gain.shape[0] != part.shape[1] for gain, part in zip(gains, (dt, b, c), strict=True)):
            continue
        parts = [dt, b, c]
        if norm.kind != "none":
            parts = [_rms(one, norm.eps) * gain for one, gain in zip(parts, gains, strict=True)]
        if misfit(parts[0], taken) < CLOSE and misfit(_scanned(scan, parts, vectors[skips[0]]), scan.expected) < CLOSE:
            return skips[0], norm
    raise Unmeasured(f"{WHAT} whose output could not be computed again")


def _norms(gammas: list[str], eps: list[float]) -> list[LowNorm]:
    if not gammas:
        return [LowNorm("none"), *(LowNorm("bare", one) for one in eps)]
    return [LowNorm("weighted", one, order) for one in eps for order in itertools.permutations(gammas)]


def _rms(y: torch.Tensor, eps: float) -> torch.Tensor:
    return y * torch.rsqrt(y.square().mean(-1, keepdim=True) + eps)


def _scanned(scan: Scan, parts: list[torch.Tensor], skip: torch.Tensor) -> torch.Tensor:
    y = selective_scan(scan.x, scan.step, scan.rate, parts[1], parts[2]) + scan.x * skip
    return y * scan.gate


def selective_scan(
    x: torch.Tensor, step: torch.Tensor, rate: torch.Tensor, b: torch.Tensor, c: torch.Tensor
) -> torch.Tensor:
    """The recurrence of Mamba 1 (arXiv 2312.00752, algorithm 2), one step a token.

    Args:
        x, step: [S, channels].
        rate: [channels, state], negative.
        b, c: [S, state].
    """
    state = torch.zeros_like(rate)
    outputs = []
    for token in range(x.shape[0]):
        write = (step[token] * x[token])[:, None] * b[token]
        state = state * torch.exp(step[token][:, None] * rate) + write
        outputs.append(state @ c[token])
    return torch.stack(outputs)
