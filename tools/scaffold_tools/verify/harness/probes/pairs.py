"""Finds the layers in which an attention and a state space layer take the same input."""

from __future__ import annotations

from probes.graph.trace import Graph
from probes.graph.values import ratio, unscaled
from probes.mixers.beside import Beside
from probes.skeleton import Layer


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
