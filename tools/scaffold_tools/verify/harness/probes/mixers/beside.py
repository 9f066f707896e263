"""Attention and a state space layer side by side: both take the same norm, and their sum joins the residual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from probes.graph.trace import Graph
from probes.graph.values import Unmeasured, ratio, unscaled, uses
from probes.mixers.mamba import Scan


@dataclass(frozen=True)
class Beside:
    """A state space layer next to an attention."""

    scan: Scan
    input_factor: float
    """On what both take, before the state space layer."""
    output_factor: float = 1.0
    """On its output, before both are added."""

    def facts(self) -> dict[str, tuple[Any, str | None]]:
        """Per-layer facts, by name: (value, source line)."""
        own = {
            "mamba.input_multiplier": or_none(self.input_factor),
            "mamba.output_multiplier": or_none(self.output_factor),
        }
        return self.scan.facts() | {name: (value, self.scan.where) for name, value in own.items()}


def or_none(factor: float) -> float | None:
    """None for a factor that does nothing."""
    return None if factor == 1.0 else factor


def join(graph: Graph, beside: Beside, total: int, other: int) -> tuple[int, int, Beside]:
    """(residual, sum with it, the state space layer with its factor).

    Args:
        total: attention and something else, added.
        other: that something.

    Raises:
        Unmeasured: it is not the state space layer's output, or their sum joins no residual.
    """
    if unscaled(graph, other) != graph.resolve(beside.scan.out.y):
        raise Unmeasured("attention and a state space layer on one norm are not added to each other first")
    factor = ratio(graph.rows(other), graph.rows(beside.scan.out.y)) or 1.0
    node = next(iter(uses(graph, total)), None)
    if node is None or node.op != "add" or len(graph.data_inputs(node)) != 2:
        raise Unmeasured("the sum of attention and a state space layer is added to no residual")
    residual = next(value for value in node.inputs if graph.resolve(value) != graph.resolve(total))
    return residual, node.outputs[0], Beside(beside.scan, beside.input_factor, factor)
