"""Weights that a known router formula gives, and the formulas that the probe finds for them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from probes.experts.router import SCORES, choose, fit_routing
from probes.graph.values import Unmeasured

TOKENS, EXPERTS = 41, 12


def run(request: dict[str, Any]) -> dict[str, Any]:
    """`formula`: score, top_k, renormalise, scale, groups, kept, group_score, bias; `spoil`: factor on one weight."""
    wanted = request["formula"]
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(TOKENS, EXPERTS, generator=generator, dtype=torch.float64)
    vector = torch.randn(EXPERTS, generator=generator, dtype=torch.float64) / 2
    scores = dict(SCORES)[wanted["score"]](logits)
    choice = scores + vector if wanted["bias"] else scores
    mask = choose(choice, wanted["top_k"], wanted["groups"], wanted["kept"], wanted["group_score"])
    weights = scores * mask
    if wanted["renormalise"]:
        weights = weights / weights.sum(-1, keepdim=True)
    weights = weights * wanted["scale"]
    weights[0] *= request.get("spoil", 1.0)
    try:
        found = fit_routing(logits, weights, {"bias": vector})
    except Unmeasured as reason:
        return {"found": [], "reason": str(reason)}
    return {"found": [asdict(one) for one in found], "reason": ""}
