"""How a router turns logits into weights: fitted to the measured weights, nothing is assumed from names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from probes.graph.values import TOLERANCE, Unmeasured, clean, misfit

SCORES: tuple[tuple[str, Callable[[torch.Tensor], torch.Tensor]], ...] = (
    ("softmax", lambda logits: torch.softmax(logits, dim=-1)),
    ("sigmoid", torch.sigmoid),
    ("sqrtsoftplus", lambda logits: F.softplus(logits).sqrt()),
)
"""Score functions; a row is a name of `moe.score` and the function over [S, E]."""

GROUP_SCORES: tuple[tuple[str, Callable[[torch.Tensor], torch.Tensor]], ...] = (
    ("top2", lambda scores: scores.topk(min(2, scores.shape[-1]), dim=-1).values.sum(-1)),
    ("max", lambda scores: scores.max(-1).values),
)
"""What a group of experts is worth: a name of `moe.group_score` and the function over [S, G, E/G]."""

NEGLIGIBLE = 1e-6
"""A weight below this share of the largest counts as none."""


@dataclass(frozen=True)
class Routing:
    """The formula of a router."""

    score: str
    top_k: int
    renormalise: bool
    scale: float
    groups: int
    """1 where experts are not grouped."""
    groups_kept: int
    group_score: str | None
    bias: str | None
    """Name of the vector that is added for the choice alone."""
    margin: float | None = None
    """Of a sparse mixer: how far below the best an expert is weighed with it."""


def fit_routing(
    logits: torch.Tensor, weights: torch.Tensor, biases: dict[str, torch.Tensor], margins: tuple[float, ...] = ()
) -> list[Routing]:
    """Every formula of the tables that chooses the same experts and gives the same weights, simplest first.

    More than one may: groups that happen to hold every token's best experts do not show in one layer. Layers of one
    model have one formula (`common_routing`).

    Args:
        logits: [S, E].
        weights: measured [S, E], zero for experts that are not used.
        biases: candidates for the correction bias [E].
        margins: candidates for the margin of a sparse mixer.

    Raises:
        Unmeasured: no formula of the tables does.
    """
    chosen = weights.abs() > NEGLIGIBLE * weights.abs().max()
    counts = chosen.sum(-1)
    if int(counts.min()) != int(counts.max()):
        raise Unmeasured(f"tokens use {int(counts.min())} to {int(counts.max())} experts, not the same number")
    top_k = int(counts[0])
    found, chooses = [], False
    for name, score in SCORES:
        scores = score(logits)
        plain = _weights(scores, chosen, weights)
        for bias, vector in [(None, torch.zeros(1)), *biases.items()]:
            for groups, kept, group_score in _groupings(logits.shape[-1], top_k):
                if not torch.equal(choose(scores + vector, top_k, groups, kept, group_score), chosen):
                    continue
                chooses = True
                if plain is not None:
                    found.append(Routing(name, top_k, *plain, groups, kept, group_score, bias))
    for margin in margins:
        if misfit(sparse_mixer(logits, top_k, margin), weights) < TOLERANCE:
            found.append(Routing("sparsemixer", top_k, False, 1.0, 1, 1, None, None, margin))
    if not found:
        what = "gives the experts' weights" if chooses else "chooses the same experts"
        raise Unmeasured(f"no known router formula {what}")
    return found


def common_routing(layers: list[list[Routing]]) -> list[Routing] | None:
    """For each layer the one formula that fits all of them; None where there is none."""
    for first in layers[0]:
        same = [next((one for one in found if _alike(one, first)), None) for found in layers]
        chosen = [one for one in same if one is not None]
        if len(chosen) == len(layers):
            return chosen
    return None


def _alike(one: Routing, other: Routing) -> bool:
    close = abs(one.scale - other.scale) <= 1e-5 * abs(other.scale)
    same = replace(one, bias=None, scale=1.0) == replace(other, bias=None, scale=1.0)
    return close and same and (one.bias is None) == (other.bias is None)


def _groupings(experts: int, top_k: int) -> Iterator[tuple[int, int, str | None]]:
    yield 1, 1, None
    for groups in range(2, experts // 2 + 1):
        if experts % groups:
            continue
        for kept in range(1, groups):
            if kept * (experts // groups) < top_k:
                continue
            for name, _ in GROUP_SCORES:
                yield groups, kept, name


def choose(scores: torch.Tensor, top_k: int, groups: int, kept: int, group_score: str | None) -> torch.Tensor:
    """Mask [S, E] of the chosen experts: the best `kept` groups first, then the best experts in them."""
    if groups > 1:
        value = dict(GROUP_SCORES)[str(group_score)](scores.unflatten(-1, (groups, -1)))
        best = torch.zeros_like(value).scatter(-1, value.topk(kept, dim=-1).indices, 1).bool()
        scores = scores.masked_fill(~best.repeat_interleave(scores.shape[-1] // groups, dim=-1), float("-inf"))
    index = scores.topk(top_k, dim=-1).indices
    return torch.zeros_like(scores).scatter(-1, index, 1).bool()


def sparse_mixer(logits: torch.Tensor, rounds: int, margin: float) -> torch.Tensor:
    """Weights [S, E] of SparseMixer-v2 (arXiv 2409.12136) outside training: the best expert of each round, weighed by
    a softmax over those whose logit is at most `margin` * max(|logit|, best) below it; the next round goes without it.
    """
    left, weights = logits, torch.zeros_like(logits)
    for _ in range(rounds):
        best, index = left.max(dim=-1, keepdim=True)
        near = (best - left) / logits.abs().clamp(min=best) <= margin
        weighed = torch.softmax(left.masked_fill(~near, float("-inf")), dim=-1)
        weights = weights.scatter(-1, index, weighed.gather(-1, index))
        left = left.scatter(-1, index, float("-inf"))
    return weights


def _weights(scores: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor) -> tuple[bool, float] | None:
    """(renormalised, scale) with which the scores of the chosen experts are the measured weights."""
    plain = scores * chosen
    for renormalise in (False, True):
        made = plain / plain.sum(-1, keepdim=True) if renormalise else plain
        scale = float((made * weights).sum() / made.square().sum())
        if misfit(made * scale, weights) < TOLERANCE:
            return renormalise, clean(scale)
    return None
