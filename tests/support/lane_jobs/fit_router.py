"""Weights that a known router formula gives, and the formulas that the probe finds for them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from probes.experts.router import SCORES, choose, fit_routing, sparse_mixer
from probes.graph.values import Unmeasured

TOKENS, EXPERTS = 41, 12


def run(request: dict[str, Any]) -> dict[str, Any]:
    """`formula`: score, top_k, renormalise, scale, groups, kept, group_score, bias; `spoil`: factor on one weight."""
    wanted = request["formula"]
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(TOKENS, EXPERTS, generator=generator, dtype=torch.float64)
    vector = torch.randn(EXPERTS, generator=generator, dtype=torch.float64) / 2
    if wanted["score"] == "sparsemixer":
        return _found(logits, sparse_mixer(logits, wanted["top_k"], wanted["margin"]), {}, tuple(request["margins"]))
    scores = dict(SCORES)[wanted["score"]](logits)
    choice = scores + vector if wanted["bias"] else scores
    mask = choose(choice, wanted["top_k"], wanted["groups"], wanted["kept"], wanted["group_score"])
    weights = scores * mask
    if wanted["renormalise"]:
        weights = weights / weights.sum(-1, keepdim=True)
    weights = weights * wanted["scale"]
    weights[0] *= request.get("spoil", 1.0)
    return _found(logits, weights, {"bias": vector})


def _found(
    logits: torch.Tensor, weights: torch.Tensor, biases: dict[str, torch.Tensor], margins: tuple[float, ...] = ()
) -> dict[str, Any]:
    try:
        found = fit_routing(logits, weights, biases, margins)
    except Unmeasured as reason:
        return {"found": [], "reason": str(reason)}
    return {"found": [asdict(one) for one in found], "reason": ""}
