"""Gated delta nets: linear attentions found by their decay, and proved by computing their output again.

The decay exp(-exp(A) * softplus(a + bias)) is the mark (Gated DeltaNet, arXiv 2412.06464, section 3.4); what the
layer is believed to do with it is then run on the captured inputs and must give the captured output.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import torch

from probes.graph.decay import decays, shifted_softplus
from probes.graph.structure import Linear, Norm, sources
from probes.graph.trace import PARTS, VIEWS, Graph, Node
from probes.graph.values import Unmeasured, misfit

NORM_ROLE = "delta.norm"
CLOSE = 2e-4
"""Largest relative misfit of a recomputed output: the kernels work in float32."""


@dataclass(frozen=True)
class Delta:
    """One gated delta net."""

    decay: str
    step_bias: str
    convolutions: tuple[str, ...]
    linears: tuple[tuple[str, Linear], ...]
    """(role, linear) of the projections that take the residual stream."""
    out: Linear
    norm: Norm
    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    width: int
    """Taps of the convolutions."""
    write_factor: float
    """Factor on the sigmoid that says how much is written."""
    where: str

    def facts(self) -> dict[str, tuple[Any, str | None]]:
        """Per-layer facts, by name: (value, source line)."""
        values = {
            "delta.key_heads": self.key_heads,
            "delta.value_heads": self.value_heads,
            "delta.key_dim": self.key_dim,
            "delta.value_dim": self.value_dim,
            "delta.conv_width": self.width,
            "delta.write_factor": self.write_factor,
        }
        return {name: (value, self.where) for name, value in values.items()}

    def tensors(self) -> list[tuple[str, str]]:
        """(role, tensor) beside projections and norm."""
        names = ["delta.conv"] if len(self.convolutions) == 1 else ["delta.conv_q", "delta.conv_k", "delta.conv_v"]
        vectors = [("delta.A", self.decay), ("delta.step_bias", self.step_bias)]
        return [*zip(names, self.convolutions, strict=True), *vectors]


@dataclass(frozen=True)
class Decay:
    """The decay of a recurrence: -exp(A) * softplus(a + bias)."""

    node: Node
    value: int
    source: int
    parameter: str
    bias: str


def find_decays(graph: Graph) -> list[Decay]:
    """Every product of softplus(data + parameter) with minus the exponential of another parameter."""
    found = []
    for node, _, bias in shifted_softplus(graph):
        first = next(decays(graph, node.outputs[0]), None)
        if first is not None:
            product, rate = first
            found.append(Decay(node, product.outputs[0], node.inputs[0], rate, bias))
    return found


def read_delta(graph: Graph, decay: Decay, out: Linear, norms: list[Norm], by_output: dict[int, Linear]) -> Delta:
    """The gated delta net around a decay.

    Raises:
        Unmeasured: the recurrence is another one, or its projections are laid out in an unknown way.
    """
    length = graph.length
    steps, _ = sources(graph, decay.source, by_output)
    if len(steps) != 1:
        raise Unmeasured("the decay of a recurrence comes from several projections")
    entry = graph.resolve(steps[0].x)
    region = {value for value in graph.ancestors(out.x, {entry}) if graph.depends[value]}
    nodes = [graph.nodes[index] for index in sorted({graph.producer[one] for one in region} - {None})]
    after = [one for one in norms if one.y in region and decay.value in graph.ancestors(one.x, {entry})]
    convolutions = [node for node in nodes if node.op == "convolution"]
    value_heads = graph.tensors[decay.value].numel() // length
    if len(after) != 1 or len(convolutions) not in (1, 3) or out.inputs % value_heads:
        raise Unmeasured(
            f"a recurrence with {len(convolutions)} convolutions and {len(after)} norms: no gated delta net"
        )
    norm, value_dim = after[0], out.inputs // value_heads
    output = graph.tensors[norm.source].double()
    if output.numel() != length * value_heads * value_dim or output.shape[-1] != value_dim:
        raise Unmeasured("the norm of a recurrence is not on the values of one head")
    mixed = torch.cat([_activated(graph, node) for node in convolutions])
    beta = _write_strength(graph, nodes, value_heads)
    g = graph.tensors[decay.value].double().reshape(length, value_heads)
    fitted = _fit(mixed, g, beta, output.reshape(length, value_heads, value_dim))
    if fitted is None:
        raise Unmeasured("a recurrence that is no gated delta net: its output could not be computed again")
    key_heads, key_dim, factor = fitted
    shape = (key_heads, value_heads, key_dim, value_dim)
    before = torch.cat([_rows(graph, node.inputs[0], node) for node in convolutions])
    gate = graph.rows(out.x) / graph.rows(norm.y)
    own = {one.node: one for one in by_output.values() if one.y in region or graph.resolve(one.y) in region}
    own[steps[0].node] = replace(steps[0], bias=None)  # what looks like its bias is that of the decay
    linears = _layout(graph, [own[index] for index in sorted(own)], shape, (before, gate, beta, steps[0]))
    width = graph.tensors[convolutions[0].inputs[1]].shape[-1]
    return Delta(
        decay.parameter,
        decay.bias,
        _kernels(graph, convolutions),
        linears,
        out,
        norm,
        *(key_heads, value_heads, key_dim, value_dim),
        width,
        factor,
        decay.node.where,
    )


def _write_strength(graph: Graph, nodes: list[Node], heads: int) -> torch.Tensor:
    """The sigmoid [S, heads] that says how much is written."""
    size = graph.length * heads
    found = [node.outputs[0] for node in nodes if node.op == "sigmoid"]
    found = [value for value in found if graph.tensors[value].numel() == size]
    if len(found) != 1:
        raise Unmeasured("no sigmoid says how much a recurrence writes")
    return graph.tensors[found[0]].double().reshape(graph.length, heads)


def _kernels(graph: Graph, convolutions: list[Node]) -> tuple[str, ...]:
    """Names of the convolutions' weights."""
    weights = [graph.params.get(graph.resolve(node.inputs[1])) for node in convolutions]
    biased = any(graph.params.get(graph.resolve(value)) for node in convolutions for value in node.inputs[2:])
    if None in weights or biased:
        raise Unmeasured("a convolution with a bias in a gated delta net")
    return tuple(str(one) for one in weights)


def _rows(graph: Graph, value: int, convolution: Node) -> torch.Tensor:
    """A value of a convolution's channels as [channels, S]."""
    channels = graph.tensors[convolution.outputs[0]].shape[1]
    tensor = graph.tensors[value].double()
    if tensor.shape[-2] == channels:
        return tensor.reshape(channels, -1)[:, -graph.length :]
    return tensor.reshape(-1, channels).t()


def _activated(graph: Graph, convolution: Node) -> torch.Tensor:
    """silu of a convolution, [channels, S]."""
    todo = list(convolution.outputs)
    while todo:
        for node in graph.users(todo.pop()):
            if node.op == "silu":
                return _rows(graph, node.outputs[0], convolution)
            if node.op in VIEWS | PARTS:
                todo.extend(node.outputs)
    raise Unmeasured("a convolution without silu")


def _fit(
    mixed: torch.Tensor, g: torch.Tensor, beta: torch.Tensor, output: torch.Tensor
) -> tuple[int, int, float] | None:
    """(key heads, key dim, factor on beta) for which the gated delta rule gives the captured output."""
    length, heads, value_dim = output.shape
    keys = (mixed.shape[0] - heads * value_dim) // 2
    for key_heads in [count for count in range(1, heads + 1) if heads % count == 0 and keys > 0 and keys % count == 0]:
        q, k, v = mixed.t().split([keys, keys, heads * value_dim], dim=-1)
        parts = q.reshape(length, key_heads, -1), k.reshape(length, key_heads, -1), v.reshape(output.shape)
        for factor in (1.0, 2.0):
            if misfit(delta_rule(*parts, g, beta * factor), output) < CLOSE:
                return key_heads, keys // key_heads, factor
    return None


def delta_rule(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, g: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
    """The gated delta rule with normalised queries and keys (arXiv 2412.06464, eq. 10), one step a token.

    Args:
        q, k: [S, key heads, key dim].
        v: [S, value heads, value dim].
        g, beta: [S, value heads].
    """
    q, k = (one * torch.rsqrt(one.square().sum(-1, keepdim=True) + 1e-6) for one in (q, k))
    repeat = v.shape[1] // k.shape[1]
    q, k = q.repeat_interleave(repeat, 1) * q.shape[-1] ** -0.5, k.repeat_interleave(repeat, 1)
    state = torch.zeros(v.shape[1], k.shape[-1], v.shape[-1], dtype=v.dtype)
    outputs = []
    for step in range(v.shape[0]):
        state = state * g[step].exp()[:, None, None]
        write = (v[step] - torch.einsum("hkv,hk->hv", state, k[step])) * beta[step][:, None]
        state = state + k[step][:, :, None] * write[:, None, :]
        outputs.append(torch.einsum("hkv,hk->hv", state, q[step]))
    return torch.stack(outputs)


def _layout(
    graph: Graph,
    linears: list[Linear],
    shape: tuple[int, int, int, int],
    captured: tuple[torch.Tensor, torch.Tensor, torch.Tensor, Linear],
) -> tuple[tuple[str, Linear], ...]:
    """Which linear, and which of its rows, give queries, keys, values, gate, write strength and decay."""
    mixed, gate, beta, step = captured
    key_heads, value_heads, key_dim, value_dim = shape
    length, share = graph.length, value_heads // key_heads
    ys = [graph.rows(one.y) for one in linears]

    def is_gate(y: torch.Tensor) -> bool:
        silu = torch.nn.functional.silu(y)
        return y.shape == gate.shape and misfit(silu, gate) < CLOSE

    def is_beta(y: torch.Tensor) -> bool:
        return y.shape == beta.shape and misfit(y.sigmoid(), beta) < CLOSE

    if len(linears) == 2:
        sizes = [key_dim, key_dim, share * value_dim, share * value_dim]
        for wide, narrow in ((0, 1), (1, 0)):
            if ys[wide].shape[-1] != key_heads * sum(sizes) or ys[narrow].shape[-1] != 2 * value_heads:
                continue
            q, k, v, z = (one.reshape(length, -1) for one in ys[wide].reshape(length, key_heads, -1).split(sizes, -1))
            both = ys[narrow].reshape(length, key_heads, -1)
            b = both[..., :share].reshape(length, -1)
            if misfit(torch.cat((q, k, v), -1).t(), mixed) < CLOSE and is_gate(z) and is_beta(b):
                return (("delta.qkvz", linears[wide]), ("delta.ba", linears[narrow]))
        raise Unmeasured("two projections of a gated delta net, laid out in an unknown way")
    gates = [one for one, y in zip(linears, ys, strict=True) if is_gate(y)]
    betas = [one for one, y in zip(linears, ys, strict=True) if is_beta(y)]
    if len(gates) != 1 or len(betas) != 1 or len(linears) not in (4, 6):
        raise Unmeasured(f"{len(linears)} projections of a gated delta net, laid out in an unknown way")
    named = {gates[0].node: "delta.z", betas[0].node: "delta.b", step.node: "delta.a"}
    rest = [one for one in linears if one.node not in named]
    names = ("delta.qkv",) if len(rest) == 1 else ("delta.q", "delta.k", "delta.v")
    for order in itertools.permutations(rest):
        if len(order) == len(names) and misfit(torch.cat([graph.rows(one.y) for one in order], -1).t(), mixed) < CLOSE:
            return (*zip(names, order, strict=True), *((named[one.node], one) for one in linears if one.node in named))
    raise Unmeasured("queries, keys and values of a gated delta net are not [q, k, v]")
