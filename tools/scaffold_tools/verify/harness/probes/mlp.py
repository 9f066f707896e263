"""What an MLP computes: gated or not, which half is the gate, the curve of the activation."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch

from probes.formula import CURVES, Formula, formulas, scaled_formulas
from probes.graph.trace import Graph
from probes.graph.values import TOLERANCE, Unmeasured, misfit
from probes.parametric import fit_parametric
from probes.skeleton import Layer


@dataclass(frozen=True)
class MlpFit:
    """Result of the fit."""

    gated: bool
    formula: Formula
    packing: str | None
    """Layout of a fused gate and up: `concat:gate,up`, `concat:up,gate`, `interleaved:gate,up`, ..."""
    gate: int
    """Which of `layer.inputs` is the gate (0 when fused or not gated)."""
    width: int
    where: str
    parameters: tuple[tuple[str, str], ...] = ()
    """(slot, tensor) of an activation with parameters of its own."""

    @property
    def activation(self) -> str:
        """The name of the curve."""
        return self.formula.activation


def fit_mlp(graph: Graph, layer: Layer, end: int | None = None) -> MlpFit:
    """Match the input of the last linear with activation and product of the first linears' outputs.

    Args:
        end: what activation and product give, where a norm lies between them and the last linear.

    Raises:
        Unmeasured: no curve of the table gives the captured values.
    """
    if layer.down is None:
        raise Unmeasured("no plain MLP in this layer")
    stop = layer.down.x if end is None else end
    target = graph.rows(stop)
    first = [graph.rows(linear.y) for linear in layer.inputs]
    start = layer.inputs[0]
    for gate, packing, halves in arrangements(first, target.shape[-1]):
        place = (graph, start.y, start.node, stop, halves)
        for formula in chain(formulas(*place), scaled_formulas(*place)):
            if misfit(formula.apply(halves), target) < TOLERANCE:
                return MlpFit(len(halves) == 2, formula, packing, gate, target.shape[-1], layer.down.where)
    own = fit_parametric(graph, layer)
    if own is not None:
        return MlpFit(False, Formula(own[0]), None, 0, target.shape[-1], layer.down.where, tuple(own[1].items()))
    where = graph.where(layer.down.x) or layer.down.where
    raise Unmeasured(f"an activation that no known curve fits ({where.rsplit('/', 1)[-1]})")


def formula_facts(formula: Formula, where: str | None) -> dict[str, tuple[Any, str | None]]:
    """Facts of what lies between two linears, by name."""
    return {
        "mlp.activation": (formula.activation, where),
        "mlp.activation.beta": (formula.beta, where),
        "mlp.clamp": (formula.clamp, where),
        "mlp.up_offset": (formula.offset, where),
        "mlp.gate_multiplier": (formula.gate_factor, where),
    }


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
