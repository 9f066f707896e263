"""What a norm computes, fitted to its captured input and output."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from probes.graph.structure import Norm
from probes.graph.trace import Graph
from probes.graph.values import TOLERANCE, Unmeasured, misfit


@dataclass(frozen=True)
class NormFit:
    """y = scale(x) * (weight + zero_centered) + bias."""

    kind: str
    zero_centered: bool
    eps: float
    width: int
    """Length of the normalised dimension."""
    shape: tuple[int, ...]
    """Shape of the weight; empty without one."""
    bias: bool
    where: str


def fit_norm(graph: Graph, norm: Norm, tensors: dict[str, torch.Tensor]) -> NormFit:
    """Find kind, zero-centring and epsilon of a norm.

    `rmsnorm`: x / sqrt(mean(x^2) + eps). `layernorm`: (x - mean) / sqrt(var + eps). `l2norm`: x / |x|.

    Raises:
        Unmeasured: none of these gives the captured output.
    """
    x, y = graph.tensors[norm.source].double(), graph.tensors[norm.y].double()
    if x.shape != y.shape:
        x = x.reshape(y.shape)
    weight = _parameter(tensors, norm.weight, norm.weights, 1.0)
    bias = _parameter(tensors, norm.bias, norm.biases, 0.0)
    best: tuple[float, str, bool, torch.Tensor] | None = None
    for kind, centred in (("rmsnorm", x), ("layernorm", x - x.mean(-1, keepdim=True))):
        for zero in (False, True) if norm.weight else (False,):
            base = centred * (weight + 1.0 if zero else weight)
            inverse = ((y - bias) * base).sum(-1, keepdim=True) / base.pow(2).sum(-1, keepdim=True)
            error = misfit(base * inverse + bias, y)
            if best is None or error < best[0]:
                best = (error, kind, zero, inverse.squeeze(-1) ** -2 - centred.pow(2).mean(-1))
    if best is None or best[0] > TOLERANCE * 10:
        raise Unmeasured("a norm that is neither RMSNorm nor LayerNorm")
    _, kind, zero, offsets = best
    eps, kind = _epsilon(norm, offsets, x, kind)
    return NormFit(
        kind, zero, eps, x.shape[-1], tuple(weight.shape) if norm.weight else (), norm.bias is not None, norm.where
    )


def _parameter(
    tensors: dict[str, torch.Tensor], name: str | None, heads: tuple[str, ...], without: float
) -> torch.Tensor:
    """A weight or bias; [heads, 1, width] where every head has its own."""
    if heads:
        return torch.stack([tensors[one].double() for one in heads])[:, None]
    return tensors[name].double() if name else torch.full((), without, dtype=torch.float64)


def _epsilon(norm: Norm, offsets: torch.Tensor, x: torch.Tensor, kind: str) -> tuple[float, str]:
    """The epsilon the operator was given, if the values agree with it, else the one the values show."""
    fitted = float(offsets.median())
    noise = 1e-5 * float(x.pow(2).mean(-1).max())
    if norm.eps is not None and abs(norm.eps - fitted) <= noise + 1e-4 * abs(norm.eps):
        return norm.eps, kind
    if float((offsets - fitted).abs().max()) > 20 * noise:
        return (0.0, "l2norm") if kind == "rmsnorm" else (fitted, "unknown")
    return (0.0 if abs(fitted) < noise else fitted), kind
