"""What lies between the last layer and the head: a norm, or norm, linear, activation and another norm."""

from __future__ import annotations

from dataclasses import dataclass

from probes.graph.structure import Linear, Norm
from probes.graph.trace import Graph


@dataclass(frozen=True)
class Transform:
    """A linear, an activation and a norm right before the head."""

    dense: Linear
    norm: Norm


def find_transform(graph: Graph, norm: Norm, linears: list[Linear], prefixes: tuple[str, ...]) -> Transform | None:
    """A linear outside the layers between the last norm and the last layer.

    Args:
        norm: the norm that the head takes.
        prefixes: beginnings of the names of the layers' tensors.
    """
    ends = {one.y for one in linears}
    before = graph.ancestors(norm.x, ends)
    found = [one for one in linears if one.y in before and not one.weight.startswith(prefixes)]
    return Transform(found[0], norm) if len(found) == 1 else None
