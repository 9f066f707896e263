"""The last word: the logits of both models on the same tokens, in fp32."""

from __future__ import annotations

from typing import Any

import torch
from mcore.build import forward

from checks.measured import Checks, Clock
from checks.reference import Reference
from checks.tolerances import LOGITS_COSINE, LOGITS_MAX_ABS


def compare_logits(model: Any, reference: Reference, checks: Checks) -> None:
    """Run the Megatron model; records `logits.max_abs` and `logits.cosine`."""
    clock = Clock()
    logits = forward(model, reference.tokens, reference.logits.shape[-1])
    seconds = clock.lap()
    if logits.shape != reference.logits.shape:
        detail = f"shape {tuple(logits.shape)}, expected {tuple(reference.logits.shape)}"
        checks.add("logits.max_abs", False, threshold=LOGITS_MAX_ABS, detail=detail, seconds=seconds)
        checks.skip(("logits.cosine",), "shapes differ")
        return
    difference = (logits - reference.logits).abs()
    largest = float(difference.nan_to_num(nan=float("inf")).max())
    passed = largest < LOGITS_MAX_ABS
    first = difference.amax(-1).amax(0)  # by position: where it starts tells windows and positions from the rest
    off = (~(first < LOGITS_MAX_ABS)).nonzero().flatten().tolist()
    detail = "" if passed else f"from position {off[0]} on, {len(off)} of {len(first)} positions"
    value = largest if largest != float("inf") else "not finite"
    checks.add("logits.max_abs", passed, value=value, threshold=LOGITS_MAX_ABS, detail=detail, seconds=seconds)
    cosine = torch.nn.functional.cosine_similarity(logits.double(), reference.logits.double(), dim=-1)
    least = float(cosine.nan_to_num(nan=-1.0).min())
    checks.add("logits.cosine", least > LOGITS_COSINE, value=least, threshold=LOGITS_COSINE)
