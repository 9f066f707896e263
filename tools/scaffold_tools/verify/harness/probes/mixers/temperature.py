"""A factor on the queries that grows with the position: 1 + beta * log(1 + floor((position + offset) / length))."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from probes.graph.values import TOLERANCE, Unmeasured


@dataclass(frozen=True)
class Temperature:
    """Parameters of the factor."""

    beta: float
    length: int
    offset: int = 0
    """The number of the first position."""


def fit_temperature(before: torch.Tensor, after: torch.Tensor) -> tuple[Temperature | None, torch.Tensor]:
    """(parameters, factor [S]) that scale queries [heads, S, dim] by position; (None, ones) where nothing does.

    A rotation keeps the length of a query, so the lengths tell the factor.

    Raises:
        Unmeasured: a factor that depends on the position in another way.
    """
    ones = torch.ones(before.shape[1], dtype=torch.float64)
    if before.shape != after.shape:
        return None, ones
    growth = after.norm(dim=-1) / before.norm(dim=-1)
    factor = growth.mean(0) / growth[:, 0].mean()
    uneven = float((growth / growth[:, :1] - factor).abs().max()) > 50 * TOLERANCE
    if uneven or float((factor - 1).abs().max()) < 50 * TOLERANCE:
        return None, ones  # nothing, or nothing that depends on the position alone
    ahead = (factor[1:] - factor[:-1] > 10 * TOLERANCE).nonzero().flatten() + 1
    # With one step in sight its position is the length; with two, the distance of the steps is.
    first = int(ahead[0]) if len(ahead) else 0
    length = int(ahead[1] - ahead[0]) if len(ahead) > 1 else first
    beta = float(f"{float(factor[first] - 1) / math.log(2):.6g}")
    steps = (torch.arange(len(factor), dtype=torch.float64) + length - first).div(max(length, 1)).floor()
    expected = 1 + beta * torch.log1p(steps)
    if length == 0 or float((expected - factor).abs().max()) > 50 * TOLERANCE:
        raise Unmeasured("the queries are scaled by position in an unknown way")
    return Temperature(beta, length, length - first), factor
