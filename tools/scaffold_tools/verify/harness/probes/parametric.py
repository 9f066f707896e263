"""Activations with parameters of their own."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from probes.graph.trace import Graph
from probes.graph.values import TOLERANCE, misfit
from probes.skeleton import Layer


@dataclass(frozen=True)
class Parametric:
    """A curve that takes numbers from the checkpoint."""

    name: str
    slots: tuple[str, ...]
    curve: Callable[..., torch.Tensor]
    """(x, one tensor a slot)"""


def xielu(
    x: torch.Tensor, alpha_p: torch.Tensor, alpha_n: torch.Tensor, beta: torch.Tensor, eps: torch.Tensor
) -> torch.Tensor:
    """xIELU (arXiv 2411.13010, equation 5): a parabola above zero, an integrated ELU below."""
    above = F.softplus(alpha_p) * x * x + beta * x
    below = (torch.expm1(torch.minimum(x, eps)) - x) * (beta + F.softplus(alpha_n)) + beta * x
    return torch.where(x > 0, above, below)


CURVES: tuple[Parametric, ...] = (Parametric("xielu", ("alpha_p", "alpha_n", "beta", "eps"), xielu),)


def fit_parametric(graph: Graph, layer: Layer) -> tuple[str, dict[str, str]] | None:
    """(curve, tensor name of each slot) of an MLP that is not gated; None where none fits."""
    if layer.down is None or len(layer.inputs) != 1:
        return None
    x, target = graph.rows(layer.inputs[0].y), graph.rows(layer.down.x)
    if x.shape != target.shape:
        return None
    stop = {layer.inputs[0].y, graph.resolve(layer.inputs[0].y)}
    numbers = {
        graph.params[value]: graph.tensors[value].double().reshape(())
        for value in sorted(graph.ancestors(layer.down.x, stop))
        if value in graph.params and graph.tensors[value].numel() == 1
    }
    for curve in CURVES:
        for names in itertools.permutations(numbers, len(curve.slots)):
            if misfit(curve.curve(x, *(numbers[name] for name in names)), target) < TOLERANCE:
                return curve.name, dict(zip(curve.slots, names, strict=True))
    return None
