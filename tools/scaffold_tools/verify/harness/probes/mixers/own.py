"""Ways to mix positions that are neither attention nor a module of megatron-core: what a probe says of one.

Each kind has a module with `find`, which looks for its mark in the graph, and a reader, which must compute the
captured output of the mixer again from what it believes; else it raises `Unmeasured`, and nothing is claimed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from probes.graph.structure import Linear
from probes.graph.trace import PARTS, VIEWS, Graph, Node
from probes.graph.values import Unmeasured
from probes.notebook import Notebook, note_linear, note_tensor

CLOSE = 2e-4
"""Largest relative misfit of a recomputed output: modeling code scans in float32."""


@dataclass(frozen=True)
class Mixer:
    """One mixer of a layer."""

    kind: str
    """Beginning of the names of its facts and roles."""
    entries: tuple[tuple[str, Linear], ...]
    """(role, linear) of the projections that take the residual stream."""
    inner: tuple[tuple[str, Linear], ...]
    """(role, linear) of those between them and the output projection."""
    out: Linear
    tensors: tuple[tuple[str, str, str], ...]
    """(role, tensor, param) beside projections."""
    values: tuple[tuple[str, Any], ...]
    """(name without the kind, value) of what was measured."""
    where: str

    def facts(self) -> dict[str, tuple[Any, str | None]]:
        """Per-layer facts, by name: (value, source line)."""
        return {f"{self.kind}.{name}": (value, self.where) for name, value in self.values}


@dataclass(frozen=True)
class Mark:
    """A place in the graph where a mixer of some kind is."""

    node: Node
    read: Callable[[], Mixer]
    """Measures it; raises `Unmeasured`."""


def note_mixer(book: Notebook, mixer: Mixer) -> None:
    """Write down the roles of its tensors, without those of its output projection."""
    for role, linear in (*mixer.entries, *mixer.inner):
        note_linear(book, role, linear)
    for role, name, param in mixer.tensors:
        note_tensor(book, role, name, param)


def region(graph: Graph, value: int, stop: set[int]) -> tuple[set[int], list[Node]]:
    """The values between `stop` and a value that depend on the tokens, and the nodes that made them, in call order."""
    stop = stop | {graph.resolve(one) for one in stop}
    values = {one for one in graph.ancestors(value, stop) if graph.depends[one]}
    indices = {graph.producer[one] for one in values - stop} - {None}
    return values, [graph.nodes[index] for index in sorted(indices)]  # type: ignore[type-var]


def parameters(graph: Graph, values: set[int], known: set[str | None]) -> dict[str, int]:
    """Parameters that the nodes of a region take, without those already known."""
    found: dict[str, int] = {}
    for value in values:
        node = graph.made_by(value)
        for operand in node.inputs if node else ():
            if graph.depends[operand]:
                continue
            for one in graph.ancestors(operand):
                if one in graph.params and graph.params[one] not in known:
                    found[graph.params[one]] = one
    return found


def epsilons(graph: Graph, nodes: list[Node]) -> list[float]:
    """Numbers that are added right before a root."""
    found = []
    for node in nodes:
        if node.op not in ("rsqrt", "sqrt", "pow"):
            continue
        added = graph.made_by(graph.resolve(node.inputs[0]))
        if added is not None and added.op == "add":
            found += [arg for arg in added.args if isinstance(arg, float)]
    found += [node.args[-1] for node in nodes if node.op == "_fused_rms_norm" and isinstance(node.args[-1], float)]
    return list(dict.fromkeys(found)) or [0.0]


def by_channel(graph: Graph, value: int, channels: int) -> torch.Tensor:
    """A value of a convolution's channels as [S, channels], whichever comes first; padding in front is cut off."""
    tensor = graph.tensors[value].double()
    if tensor.shape[-2] == channels and tensor.shape[-1] != channels:
        return tensor.reshape(channels, -1)[:, : graph.length].t()
    return tensor.reshape(-1, channels)[: graph.length]


def causal_convolution(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Each channel's own filter over the last tokens.

    Args:
        x: [S, channels].
        weight: [channels, 1, taps].
        bias: [channels].
    """
    padded = torch.nn.functional.pad(x.t()[None], (weight.shape[-1] - 1, 0))
    return torch.nn.functional.conv1d(padded, weight, bias, groups=weight.shape[0])[0].t()


def filters(graph: Graph, node: Node) -> tuple[tuple[str, str | None], tuple[torch.Tensor, torch.Tensor | None]]:
    """Names and values of a depthwise convolution's weight and bias.

    Raises:
        Unmeasured: it is no depthwise convolution with a weight of its own.
    """
    weight = graph.params.get(graph.resolve(node.inputs[1]))
    bias = graph.params.get(graph.resolve(node.inputs[2])) if len(node.inputs) > 2 else None
    tensor = graph.tensors[graph.resolve(node.inputs[1])].double()
    if weight is None or tensor.dim() != 3 or tensor.shape[1] != 1:
        raise Unmeasured("a convolution in a mixer that is not one filter a channel")
    return (weight, bias), (tensor, graph.tensors[graph.resolve(node.inputs[2])].double() if bias else None)


def one_convolution(nodes: list[Node], what: str) -> Node:
    """The only convolution among nodes."""
    found = [node for node in nodes if node.op == "convolution"]
    if len(found) != 1:
        raise Unmeasured(f"{len(found)} convolutions in {what}, where one is expected")
    return found[0]


def activated(graph: Graph, value: int, op: str) -> int | None:
    """The value after an activation that follows with nothing but layout changes between."""
    todo = [value]
    while todo:
        for node in graph.users(todo.pop()):
            if node.op == op:
                return node.outputs[0]
            if node.op in VIEWS | PARTS:
                todo.extend(node.outputs)
    return None
