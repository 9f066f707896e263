"""What an MLP computes: gated or not, which half is the gate, the curve of the activation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from probes.graph.trace import Graph
from probes.graph.values import TOLERANCE, Unmeasured, misfit
from probes.layers import Layer
from probes.parametric import fit_parametric

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


@dataclass(frozen=True)
class MlpFit:
    """Result of the fit."""

    gated: bool
    activation: str
    packing: str | None
    """Layout of a fused gate and up: `concat:gate,up`, `concat:up,gate`, `interleaved:gate,up`, ..."""
    gate: int
    """Which of `layer.inputs` is the gate (0 when fused or not gated)."""
    width: int
    where: str
    parameters: tuple[tuple[str, str], ...] = ()
    """(slot, tensor) of an activation with parameters of its own."""


def fit_mlp(graph: Graph, layer: Layer, end: int | None = None) -> MlpFit:
    """Match the input of the last linear with activation and product of the first linears' outputs.

    Args:
        end: what activation and product give, where a norm lies between them and the last linear.

    Raises:
        Unmeasured: no curve of the table gives the captured values.
    """
    if layer.down is None:
        raise Unmeasured("no plain MLP in this layer")
    target = graph.rows(layer.down.x if end is None else end)
    first = [graph.rows(linear.y) for linear in layer.inputs]
    for gate, packing, halves in arrangements(first, target.shape[-1]):
        for name, curve in CURVES:
            made = curve(halves[0]) if len(halves) == 1 else curve(halves[0]) * halves[1]
            if misfit(made, target) < TOLERANCE:
                return MlpFit(len(halves) == 2, name, packing, gate, target.shape[-1], layer.down.where)
    own = fit_parametric(graph, layer)
    if own is not None:
        return MlpFit(False, own[0], None, 0, target.shape[-1], layer.down.where, tuple(own[1].items()))
    where = graph.where(layer.down.x) or layer.down.where
    raise Unmeasured(f"an activation that no known curve fits ({where.rsplit('/', 1)[-1]})")


def fit_curve(x: torch.Tensor, y: torch.Tensor) -> str:
    """Name of the curve from x to y.

    Raises:
        Unmeasured: no curve of the table gives these values.
    """
    found = next((name for name, curve in CURVES if misfit(curve(x), y) < TOLERANCE), None)
    if found is None:
        raise Unmeasured("an activation that no known curve fits")
    return found


def arrangements(first: list[torch.Tensor], width: int) -> list[tuple[int, str | None, list[torch.Tensor]]]:
    """(index of the gate, packing, [gate, up] or [up]) for every way to read the first linears' outputs."""
    if len(first) == 2:
        return [(0, None, [first[0], first[1]]), (1, None, [first[1], first[0]])]
    whole = first[0]
    if whole.shape[-1] == width:
        return [(0, None, [whole])]
    if whole.shape[-1] != 2 * width:
        return []
    low, high = whole[:, :width], whole[:, width:]
    even, odd = whole[:, 0::2], whole[:, 1::2]
    return [
        (0, "concat:gate,up", [low, high]),
        (0, "concat:up,gate", [high, low]),
        (0, "interleaved:gate,up", [even, odd]),
        (0, "interleaved:up,gate", [odd, even]),
    ]
