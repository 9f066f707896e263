"""State space layers of Mamba 2: found by their step size, and proved by computing their output again.

The mark is softplus(data + bias) times -exp(A) with one A a head (Dao and Gu 2024, arXiv 2405.21060); what the layer
is believed to do is then run on the output of its input projection and must give what its output projection takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from probes.graph.decay import decays, shifted_softplus
from probes.graph.structure import Linear, sources
from probes.graph.trace import PARTS, VIEWS, Graph, Node, Ref
from probes.graph.values import Unmeasured, misfit, ratio, uses
from probes.mixers.own import CLOSE, epsilons, parameters

STEP_FLOOR = 1e-3
"""Modeling code that runs without kernels clamps steps from below at the smallest step of initialisation."""
PARTS_OF_INPUT = ("z", "x", "B", "C", "dt")


@dataclass(frozen=True)
class Step:
    """The step size of a recurrence, and the parameters next to it."""

    node: Node
    """The softplus."""
    source: int
    """The data under it, before its bias."""
    bias: str
    rate: str
    """The parameter whose exponential is the decay rate."""
    low: float
    high: float
    """Bounds of the step."""


@dataclass(frozen=True)
class Scan:
    """One state space layer of Mamba 2."""

    inp: Linear
    out: Linear
    heads: int
    head_dim: int
    state: int
    groups: int
    width: int
    """Taps of the convolution."""
    multipliers: tuple[float, ...]
    """Factors on z, x, B, C and dt after the input projection."""
    norm: str
    """`none`, or whether the norm acts `before_gate` or `after_gate`."""
    norm_parts: int
    """Groups of the norm; its mean square is over one of them."""
    norm_eps: float
    limits: tuple[float, float]
    names: tuple[tuple[str, str, str], ...]
    """(role, tensor, param) beside both projections."""
    where: str

    def facts(self) -> dict[str, tuple[Any, str | None]]:
        """Per-layer facts, by name: (value, source line)."""
        values: dict[str, Any] = {
            "mamba.heads": self.heads,
            "mamba.head_dim": self.head_dim,
            "mamba.state_dim": self.state,
            "mamba.groups": self.groups,
            "mamba.conv_width": self.width,
            "mamba.conv_bias": any(role == "mamba.conv" and param == "bias" for role, _, param in self.names),
            "mamba.proj_bias": self.inp.bias is not None or self.out.bias is not None,
            "mamba.norm": self.norm,
            "mamba.norm_groups": "one" if self.norm_parts == 1 else "state groups",
            "mamba.step_limit": [self.limits[0], None if self.limits[1] == float("inf") else self.limits[1]],
        }
        if self.norm != "none":
            values["mamba.norm_eps"] = self.norm_eps
        for name, factor in zip(PARTS_OF_INPUT, self.multipliers, strict=True):
            values[f"mamba.multiplier.{name}"] = factor
        return {name: (value, self.where) for name, value in values.items()}


def find_steps(graph: Graph) -> list[Step]:
    """Every softplus(data + bias) that multiplies minus the exponential of a parameter with one value a head."""
    found = []
    for node, data, bias in shifted_softplus(graph):
        step, low, high = _bounds(graph, node)
        rate = next((name for _, name in decays(graph, step, axes=1)), None)
        if rate is not None:
            found.append(Step(node, data, bias, rate, low, high))
    return found


def _bounds(graph: Graph, node: Node) -> tuple[int, float, float]:
    """The step after its clamp, and the bounds of that."""
    step = node.outputs[0]
    low, high = 0.0, float("inf")
    for user in uses(graph, step):
        if user.op in ("clamp", "clamp_min", "clamp_max"):
            bounds = [None if arg is None else float(arg) for arg in user.args[1:] if not isinstance(arg, Ref)]
            if user.op == "clamp_max":
                bounds = [None, *bounds]
            low = bounds[0] if bounds and bounds[0] is not None else low
            high = bounds[1] if len(bounds) > 1 and bounds[1] is not None else high
            return user.outputs[0], low, high
    return step, low, high


def is_scan(graph: Graph, step: Step, by_output: dict[int, Linear]) -> bool:
    """Whether the projection behind a step gives more than steps: that of Mamba 2 gives everything."""
    behind, _ = sources(graph, step.source, by_output)
    steps = graph.tensors[step.node.outputs[0]].numel() // graph.length
    return len(behind) == 1 and behind[0].outputs > 2 * steps  # twice: write strength and decay of a gated delta net


def read_scan(graph: Graph, step: Step, out: Linear, by_output: dict[int, Linear]) -> Scan:
    """The state space layer around a step size.

    Raises:
        Unmeasured: the recurrence is another one, or its projection is laid out in an unknown way.
    """
    behind, _ = sources(graph, step.source, by_output)
    if len(behind) != 1:
        raise Unmeasured("the step size of a state space layer comes from several projections")
    inp = behind[0]
    stop = {graph.resolve(inp.y), inp.y}
    region = {value for value in graph.ancestors(out.x, stop) if graph.depends[value]}
    nodes = [graph.nodes[index] for index in sorted({graph.producer[one] for one in region} - {None})]
    convolutions = [node for node in nodes if node.op == "convolution"]
    if len(convolutions) != 1:
        raise Unmeasured(f"{len(convolutions)} convolutions in a state space layer, where Mamba 2 has one")
    convolution = convolutions[0]
    length = graph.length
    heads = graph.tensors[step.node.outputs[0]].numel() // length
    inner, channels = _parts(graph, inp, out, convolution, heads)
    weight = graph.params.get(graph.resolve(convolution.inputs[1]))
    conv_bias = graph.params.get(graph.resolve(convolution.inputs[2])) if len(convolution.inputs) > 2 else None
    if weight is None:
        raise Unmeasured("the convolution of a state space layer has computed weights")
    projected = graph.rows(inp.y)
    gate, factors = _inputs(graph, projected, convolution, nodes, step=step, inner=inner)
    known = {step.bias, step.rate, weight, conv_bias, inp.weight, inp.bias}
    rest = parameters(graph, region, known)
    skip = [name for name, value in rest.items() if graph.tensors[value].numel() == heads]
    gamma = [name for name, value in rest.items() if graph.tensors[value].numel() == inner]
    if len(skip) != 1 or len(gamma) > 1 or len(rest) != len(skip) + len(gamma):
        raise Unmeasured(f"a state space layer with the parameters {', '.join(sorted(rest))}")
    scan = Tensors(
        x_b_c=_silu_of(graph, convolution),
        step=graph.rows(_bounds(graph, step.node)[0]),
        rate=-graph.tensors[_leaf(graph, step.rate)].double().exp(),
        skip=graph.tensors[rest[skip[0]]].double(),
        gate=gate,
        gamma=graph.tensors[rest[gamma[0]]].double() if gamma else None,
    )
    eps = epsilons(graph, nodes)
    groups, norm, norm_parts, norm_eps = _fit(scan, inner, graph.rows(out.x), eps)
    half = (channels - inner) // 2
    state = half // groups
    factors = [*factors[:2], *_two_factors(graph, projected, convolution, inner, half), factors[2]]
    names = _names(step, skip[0], (weight, conv_bias), gamma)
    width = graph.tensors[convolution.inputs[1]].shape[-1]
    limits = (0.0 if step.low <= STEP_FLOOR else step.low, step.high)
    return Scan(
        inp,
        out,
        *(heads, inner // heads, state, groups, width),
        tuple(factors),
        *(norm, norm_parts, norm_eps, limits, names, step.node.where),
    )


def _names(
    step: Step, skip: str, convolution: tuple[str, str | None], gamma: list[str]
) -> tuple[tuple[str, str, str], ...]:
    """(role, tensor, param) beside both projections."""
    names = [("mamba.A", step.rate, "other"), ("mamba.D", skip, "other"), ("mamba.step_bias", step.bias, "other")]
    names += [("mamba.conv", name, param) for name, param in zip(convolution, ("weight", "bias"), strict=True) if name]
    return (*names, *(("mamba.norm", name, "weight") for name in gamma))


def _parts(graph: Graph, inp: Linear, out: Linear, convolution: Node, heads: int) -> tuple[int, int]:
    """(inner width, channels of the convolution), where the projection has the rows of Mamba 2."""
    inner, channels = out.inputs, graph.tensors[convolution.outputs[0]].shape[1]
    if inp.outputs != inner + channels + heads or inner % heads or (channels - inner) % 2:
        raise Unmeasured(
            f"an input projection to {inp.outputs} rows is not [z {inner}, x B C {channels}, dt {heads}] of Mamba 2"
        )
    return inner, channels


@dataclass(frozen=True)
class Tensors:
    """What a scan works on, captured."""

    x_b_c: torch.Tensor
    """[S, channels], after convolution and silu."""
    step: torch.Tensor
    """[S, heads]."""
    rate: torch.Tensor
    """[heads], negative."""
    skip: torch.Tensor
    """[heads]."""
    gate: torch.Tensor
    """[S, inner], before silu."""
    gamma: torch.Tensor | None
    """[inner], weight of the gated norm."""


def state_space_scan(
    x: torch.Tensor, b: torch.Tensor, c: torch.Tensor, *, step: torch.Tensor, rate: torch.Tensor, skip: torch.Tensor
) -> torch.Tensor:
    """The recurrence of Mamba 2 (arXiv 2405.21060, eq. 1), one step a token.

    Args:
        x: [S, heads, head dim].
        step: [S, heads].
        rate, skip: [heads].
        b, c: [S, groups, state].

    Returns:
        [S, heads, head dim].
    """
    heads = x.shape[1]
    b, c = (one.repeat_interleave(heads // b.shape[1], 1) for one in (b, c))
    state = torch.zeros(heads, x.shape[2], b.shape[2], dtype=x.dtype)
    outputs = []
    for token in range(x.shape[0]):
        write = (step[token, :, None] * x[token])[:, :, None] * b[token][:, None, :]
        state = state * torch.exp(step[token] * rate)[:, None, None] + write
        outputs.append(torch.einsum("hpn,hn->hp", state, c[token]))
    return torch.stack(outputs) + x * skip[:, None]


def _fit(scan: Tensors, inner: int, expected: torch.Tensor, epsilons: list[float]) -> tuple[int, str, int, float]:
    """(groups, norm, groups of the norm, eps) with which the scan gives what the output projection takes."""
    length, heads = scan.step.shape
    half = (scan.x_b_c.shape[1] - inner) // 2
    x, b, c = scan.x_b_c.split([inner, half, half], dim=-1)
    gate = torch.nn.functional.silu(scan.gate)
    for groups in [one for one in range(1, heads + 1) if heads % one == 0 and half % one == 0]:
        y = state_space_scan(
            x.reshape(length, heads, -1),
            b.reshape(length, groups, -1),
            c.reshape(length, groups, -1),
            step=scan.step,
            rate=scan.rate,
            skip=scan.skip,
        ).reshape(length, inner)
        if scan.gamma is None:
            if misfit(y * gate, expected) < CLOSE:
                return groups, "none", 1, 0.0
            continue
        for parts in dict.fromkeys((1, groups)):
            for eps in epsilons:
                if misfit(_rms(y * gate, parts, eps) * scan.gamma, expected) < CLOSE:
                    return groups, "after_gate", parts, eps
                if misfit(_rms(y, parts, eps) * scan.gamma * gate, expected) < CLOSE:
                    return groups, "before_gate", parts, eps
    raise Unmeasured("a state space layer that is no Mamba 2: its output could not be computed again")


def _rms(y: torch.Tensor, parts: int, eps: float) -> torch.Tensor:
    cut = y.reshape(y.shape[0], parts, -1)
    return (cut * torch.rsqrt(cut.square().mean(-1, keepdim=True) + eps)).reshape(y.shape)


def _leaf(graph: Graph, name: str) -> int:
    return next(value for value, found in graph.params.items() if found == name)


def _inputs(
    graph: Graph, projected: torch.Tensor, convolution: Node, nodes: list[Node], *, step: Step, inner: int
) -> tuple[torch.Tensor, list[float]]:
    """(the gate, factors on z, x and dt), where the rows of the projection are [z, x, B, C, dt]."""
    channels = graph.tensors[convolution.outputs[0]].shape[1]
    z, x, _, dt = projected.split([inner, inner, channels - inner, projected.shape[-1] - inner - channels], dim=-1)
    before = _rows(graph, convolution.inputs[0], channels)
    x_factor = ratio(before[:, :inner], x)
    dt_factor = ratio(graph.rows(step.source), dt)
    for node in nodes:
        if node.op != "silu" or graph.tensors[node.outputs[0]].numel() != graph.length * inner:
            continue
        gate = graph.rows(node.inputs[0])
        z_factor = ratio(gate, z)
        if z_factor is not None and x_factor is not None and dt_factor is not None:
            return gate, [z_factor, x_factor, dt_factor]
    raise Unmeasured("the rows of the input projection of a state space layer are not [z, x, B, C, dt]")


def _two_factors(graph: Graph, projected: torch.Tensor, convolution: Node, inner: int, half: int) -> list[float]:
    before = _rows(graph, convolution.inputs[0], inner + 2 * half)
    found = []
    for place in (0, 1):
        start = inner + place * half
        factor = ratio(before[:, start : start + half], projected[:, inner + start : inner + start + half])
        if factor is None:
            raise Unmeasured("B and C of a state space layer are not rows of its input projection")
        found.append(factor)
    return found


def _rows(graph: Graph, value: int, channels: int) -> torch.Tensor:
    """What a convolution takes, as [S, channels]."""
    tensor = graph.tensors[value].double()
    if tensor.shape[-2] == channels:
        return tensor.reshape(channels, -1)[:, -graph.length :].t()
    return tensor.reshape(-1, channels)


def _silu_of(graph: Graph, convolution: Node) -> torch.Tensor:
    """silu of a convolution, [S, channels]."""
    channels = graph.tensors[convolution.outputs[0]].shape[1]
    todo = list(convolution.outputs)
    while todo:
        for node in graph.users(todo.pop()):
            if node.op == "silu":
                tensor = graph.tensors[node.outputs[0]].double()
                if tensor.shape[-1] == channels:
                    return tensor.reshape(-1, channels)
                return tensor.reshape(channels, -1)[:, : graph.length].t()
            if node.op in VIEWS | PARTS:
                todo.extend(node.outputs)
    raise Unmeasured("a convolution without silu in a state space layer")
