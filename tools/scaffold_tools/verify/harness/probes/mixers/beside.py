"""Attention and a state space layer side by side: both take the same norm, and their sum joins the residual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from probes.graph.trace import Graph
from probes.graph.values import Unmeasured, ratio, unscaled, uses
from probes.mixers.mamba import Scan

if TYPE_CHECKING:
    from probes.skeleton import Layer


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


def pair_up(graph: Graph, layers: list[Layer]) -> list[Layer]:
    """Layers in call order, with an attention and a state space layer on one input made into one."""
    paired: list[Layer] = []
    for layer in layers:
        before = paired[-1] if paired else None
        if before is None or not _on_one_input(graph, before, layer):
            paired.append(layer)
            continue
        attention, other = (layer, before) if before.scan is not None else (before, layer)
        scan = other.scan
        assert scan is not None
        start = unscaled(graph, scan.inp.x)
        attention.beside = Beside(scan, ratio(graph.rows(scan.inp.x), graph.rows(start)) or 1.0)
        paired[-1] = attention
    for index, layer in enumerate(paired):
        layer.index = index
    return paired


def _on_one_input(graph: Graph, one: Layer, other: Layer) -> bool:
    kinds = [layer.scan is not None for layer in (one, other)]
    if sorted(kinds) != [False, True] or any(layer.recurrent and layer.scan is None for layer in (one, other)):
        return False
    if one.latent is not None or other.latent is not None or one.beside is not None:
        return False
    return unscaled(graph, one.q.x) == unscaled(graph, other.q.x)


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
