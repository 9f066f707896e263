"""The kinds of mixers that are neither attention nor a module of megatron-core, one module each."""

from __future__ import annotations

from probes.graph.structure import Linear, Norm
from probes.graph.trace import Graph
from probes.mixers import lightning, lru, selective, short_conv
from probes.mixers.own import Mark

FINDERS = (selective, short_conv, lru, lightning)
KINDS = tuple(module.KIND for module in FINDERS)


def find_mixers(graph: Graph, norms: list[Norm], by_output: dict[int, Linear]) -> list[Mark]:
    """Every place where one of them is."""
    return [mark for module in FINDERS for mark in module.find(graph, norms, by_output)]
