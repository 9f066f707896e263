"""Absolute positions on the embedding: learned tables and their numbering, and sinusoids that code computes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from probes.graph.values import TOLERANCE, Unmeasured, clean, misfit, ratio
from probes.skeleton import Skeleton

LARGEST_OFFSET = 4


@dataclass(frozen=True)
class Start:
    """How the residual stream begins: multiplier * token + position."""

    multiplier: float
    kind: str | None
    """`learned`, `sinusoidal`, or None without absolute positions."""
    offset: int = 0
    """Number of the first position."""
    layout: str | None = None
    """Of a sinusoid: `half` (all sines, then all cosines) or `interleaved`, and `tensor2tensor` or `vaswani`."""


def fit_start(skeleton: Skeleton) -> Start:
    """Match what the first layer reads with token and position embedding.

    Raises:
        Unmeasured: it is neither a multiple of the token embedding, nor that plus positions of a known kind.
    """
    graph = skeleton.graph
    start = graph.rows(skeleton.entry if skeleton.embed_norm is None else skeleton.embed_norm.x)
    found = graph.rows(skeleton.embedding.outputs[0])
    if skeleton.positions is not None:
        return _learned(skeleton, start, found)
    factor = ratio(start, found)
    if factor is not None:
        return Start(factor, None)
    added = _added(skeleton)
    factor = None if added is None else ratio(start - added, found)
    if added is None or factor is None:
        raise Unmeasured("the first layer's input is no multiple of the token embedding")
    layout, offset = fit_sinusoid(added)
    return Start(factor, "sinusoidal", offset, layout)


def _learned(skeleton: Skeleton, start: torch.Tensor, found: torch.Tensor) -> Start:
    graph = skeleton.graph
    numbers = graph.tensors[skeleton.positions.inputs[1]].flatten()
    first = int(numbers[0])
    if not torch.equal(numbers, torch.arange(graph.length) + first):
        raise Unmeasured(f"positions are numbered {[int(number) for number in numbers[:4]]}, ...")
    places = graph.tensors[skeleton.positions.outputs[0]].reshape(graph.length, -1).double()
    if places.shape != found.shape:
        raise Unmeasured(f"position embeddings are {places.shape[-1]} wide, token embeddings {found.shape[-1]}")
    both = torch.stack([found.flatten(), places.flatten()], dim=1)
    factors = torch.linalg.lstsq(both, start.flatten()[:, None]).solution.flatten()
    if misfit(both @ factors, start.flatten()) > TOLERANCE or abs(float(factors[1]) - 1) > TOLERANCE:
        raise Unmeasured("the first layer's input is not token plus position embedding")
    return Start(clean(float(factors[0])), "learned", first)


def _added(skeleton: Skeleton) -> torch.Tensor | None:
    """[S, H]: what is added between the token embedding and the first layer and does not depend on the tokens."""
    graph = skeleton.graph
    total: torch.Tensor | None = None
    entry = skeleton.entry if skeleton.embed_norm is None else skeleton.embed_norm.x
    path = graph.ancestors(entry, {skeleton.embedding.outputs[0]})
    for node in graph.nodes:
        if node.op != "add" or not any(out in path for out in node.outputs) or len(graph.data_inputs(node)) != 1:
            continue
        others = [value for value in node.inputs if not graph.depends[value]]
        width = graph.tensors[entry].shape[-1]
        if len(others) == 1 and graph.tensors[others[0]].numel() == graph.length * width:
            total = graph.rows(others[0]) if total is None else total + graph.rows(others[0])
    return total


def fit_sinusoid(table: torch.Tensor) -> tuple[str, int]:
    """(layout, number of the first position) of a table [S, H] of sines and cosines.

    `tensor2tensor`: frequency i is 10000 ** (-i / (H/2 - 1)). `vaswani`: 10000 ** (-2 i / H) (arXiv 1706.03762,
    section 3.5).

    Raises:
        Unmeasured: no such table.
    """
    length, width = table.shape
    for offset in range(LARGEST_OFFSET + 1):
        for spacing in ("tensor2tensor", "vaswani"):
            half = width // 2
            steps = torch.arange(half, dtype=torch.float64) / ((half - 1) if spacing == "tensor2tensor" else half)
            angles = (torch.arange(length) + offset)[:, None].double() * torch.exp(-math.log(10000.0) * steps)
            waves = torch.stack([torch.sin(angles), torch.cos(angles)])
            shapes = {"half": torch.cat(list(waves), dim=1), "interleaved": waves.permute(1, 2, 0).reshape(length, -1)}
            for order, expected in shapes.items():
                if misfit(expected, table) < 1e-4:
                    return f"{order}:{spacing}", offset
    raise Unmeasured("what is added to the token embeddings is no table of sines and cosines")
