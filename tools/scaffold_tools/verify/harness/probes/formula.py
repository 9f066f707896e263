"""What lies between the first and the last linear of an MLP or an expert: bounds, a curve, a product."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from probes.graph.trace import Graph, Node, Ref
from probes.graph.values import Unmeasured, clean, is_scalar_factor, ratio

CURVES: tuple[tuple[str, Callable[[torch.Tensor], torch.Tensor]], ...] = (
    ("silu", F.silu),
    ("gelu", F.gelu),
    ("gelu_tanh", lambda x: F.gelu(x, approximate="tanh")),
    ("relu", F.relu),
    ("relu2", lambda x: F.relu(x).square()),
    ("quick_gelu", lambda x: x * torch.sigmoid(1.702 * x)),
    ("sigmoid", torch.sigmoid),
    ("tanh", torch.tanh),
    ("mish", F.mish),
    ("linear", lambda x: x),
    ("laplace", lambda x: 0.5 * (1 + torch.erf((x - 0.707107) / (0.282095 * 2**0.5)))),
    ("leaky_relu", F.leaky_relu),
    ("relu6", F.relu6),
    ("selu", F.selu),
    ("elu", F.elu),
    ("softplus", F.softplus),
)
"""Activation curves; a row is a name of `mlp.activation` and the function."""

OFFSETS = (0.0, 1.0)
"""What is added to the up half."""


@dataclass(frozen=True)
class Formula:
    """act(gate) * (up + offset) of a gated MLP, act(up) of another."""

    activation: str
    """A name of `CURVES`, or `swish`: x * sigmoid(beta * x)."""
    beta: float | None = None
    clamp: float | None = None
    """gate <= clamp, -clamp <= up <= clamp."""
    offset: float = 0.0
    gate_factor: float | None = None
    """On the gate (or the up half, where nothing gates), before everything else."""

    def apply(self, halves: list[torch.Tensor]) -> torch.Tensor:
        """The formula's value for [gate, up], or for [up] where nothing gates."""
        gate = halves[0] if self.gate_factor is None else halves[0] * self.gate_factor
        gate = gate if self.clamp is None else gate.clamp(max=self.clamp)
        made = gate * torch.sigmoid(self.beta * gate) if self.beta is not None else dict(CURVES)[self.activation](gate)
        if len(halves) == 1:
            return made
        up = halves[1] if self.clamp is None else halves[1].clamp(-self.clamp, self.clamp)
        return made * (up + self.offset)


def formulas(graph: Graph, start: int, node: int, stop: int, halves: list[torch.Tensor]) -> Iterator[Formula]:
    """What may lie between two linears, simplest first.

    Args:
        start: output of the first linear, which the node `node` gives.
        stop: input of the last linear.
        halves: [gate, up] or [up], each [tokens, width].

    Raises:
        Unmeasured: values are clamped in a way that no formula has.
    """
    bound = clamp_bound(graph, start, node, stop)
    offsets = OFFSETS if len(halves) == 2 else OFFSETS[:1]
    for offset in offsets:
        yield from (Formula(name, None, bound, offset) for name, _ in CURVES)
    gate = halves[0] if bound is None else halves[0].clamp(max=bound)
    for beta in _betas(graph, start, node, stop, gate):
        yield from (Formula("swish", beta, bound, offset) for offset in offsets)


def scaled_formulas(graph: Graph, start: int, node: int, stop: int, halves: list[torch.Tensor]) -> Iterator[Formula]:
    """Curves of a gate that one number multiplies first; arguments as of `formulas`."""
    for step in _steps(graph, start, node, stop):
        data = graph.data_inputs(step)
        if len(data) != 1 or not is_scalar_factor(graph, step, data[0]):
            continue
        made = graph.tensors[step.outputs[0]].double()
        factor = ratio(made.reshape(halves[0].shape), halves[0]) if made.numel() == halves[0].numel() else None
        if factor is not None and factor != 1.0:
            yield from (Formula(name, gate_factor=factor) for name, _ in CURVES)


def _betas(graph: Graph, start: int, node: int, stop: int, gate: torch.Tensor) -> list[float]:
    """Factors on the gate inside a sigmoid."""
    found = []
    for step in _steps(graph, start, node, stop):
        inside = graph.tensors[step.inputs[0]] if step.op == "sigmoid" else None
        if inside is not None and inside.numel() == gate.numel():
            found.append(ratio(inside.double().reshape(gate.shape), gate))
    return [clean(beta) for beta in found if beta is not None]


def _steps(graph: Graph, start: int, node: int, stop: int) -> Iterator[Node]:
    for value in graph.ancestors(stop, {start}):
        step = graph.made_by(value)
        if step is not None and step.index > node:
            yield step


def clamp_bound(graph: Graph, start: int, node: int, stop: int) -> float | None:
    """The bound where the gate is clamped from above and the up half on both sides; None without clamps.

    Raises:
        Unmeasured: there are clamps of another kind.
    """
    clamps = ("clamp", "clamp_max", "clamp_min")
    seen = {_ends(step) for step in _steps(graph, start, node, stop) if step.op in clamps}
    if not seen:
        return None
    bound = max((high for _, high in seen if high is not None), default=None)
    if bound is None or seen != {(None, bound), (-bound, bound)}:
        raise Unmeasured(f"values are clamped to {sorted(map(str, seen))} between two linears")
    return bound


def _ends(node: Node) -> tuple[float | None, float | None]:
    numbers = [None if one is None else float(one) for one in node.args[1:] if not isinstance(one, Ref)]
    if node.op == "clamp_max":
        return None, numbers[0]
    if node.op == "clamp_min":
        return numbers[0], None
    low = numbers[0] if numbers else node.kwargs.get("min")
    high = numbers[1] if len(numbers) > 1 else node.kwargs.get("max")
    return low, high
