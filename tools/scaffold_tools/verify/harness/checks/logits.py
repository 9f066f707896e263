"""The last word: the logits of both models on the same tokens, in fp32."""

from __future__ import annotations

from typing import Any

import torch
from mcore.build import forward

from checks.measured import Checks, Clock
from checks.reference import Reference
from checks.tolerances import LOGITS_COSINE


def compare_logits(model: Any, reference: Reference, checks: Checks) -> None:
    """Run the Megatron model; records `logits.max_abs` and `logits.cosine`."""
    clock = Clock()
    logits = forward(model, reference.tokens, reference.logits.shape[-1])
    seconds = clock.lap()
    if logits.shape != reference.logits.shape:
        detail = f"shape {tuple(logits.shape)}, expected {tuple(reference.logits.shape)}"
        checks.add("logits.max_abs", False, threshold=reference.limit, detail=detail, seconds=seconds)
        checks.skip(("logits.cosine",), "shapes differ")
        return
    difference = (logits - reference.logits).abs()
    largest = float(difference.nan_to_num(nan=float("inf")).max())
    passed = largest < reference.limit
    first = difference.amax(-1).amax(0)  # by position: where it starts tells windows and positions from the rest
    off = (~(first < reference.limit)).nonzero().flatten().tolist()
    detail = "" if passed else f"from position {off[0]} on, {len(off)} of {len(first)} positions"
    value = largest if largest != float("inf") else "not finite"
    checks.add("logits.max_abs", passed, value=value, threshold=reference.limit, detail=detail, seconds=seconds)
    cosine = torch.nn.functional.cosine_similarity(logits.double(), reference.logits.double(), dim=-1)
    least = float(cosine.nan_to_num(nan=-1.0).min())
    checks.add("logits.cosine", least > LOGITS_COSINE, value=least, threshold=LOGITS_COSINE)


def compare_padded(model: Any, reference: Reference, checks: Checks) -> None:
    """Sequences of different lengths in one batch, padded at the end; records `logits.padded` over real tokens."""
    clock = Clock()
    tokens, mask = padded_batch(reference.tokens)
    lengths = mask.sum(-1).tolist()
    try:
        with torch.no_grad():
            expected = reference.model(input_ids=tokens, attention_mask=mask, use_cache=False).logits
    except Exception as error:  # a model without padding has nothing to compare
        checks.skip(("logits.padded",), f"a padded batch does not run: {' '.join(str(error).split())[:200]}")
        return
    logits = forward(model, tokens, expected.shape[-1])
    difference = (logits - expected).abs()[mask.bool()]
    largest = float(difference.nan_to_num(nan=float("inf")).max())
    value = largest if largest != float("inf") else "not finite"
    detail = f"lengths {', '.join(map(str, lengths))}"
    passed = largest < reference.limit
    checks.add("logits.padded", passed, value=value, threshold=reference.limit, detail=detail, seconds=clock.lap())


def padded_batch(whole: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens [batch, sequence] of which each row is a third shorter than the one before, and 1 where one is real."""
    tokens, length = whole.clone(), whole.shape[1]
    mask = torch.zeros_like(tokens)
    for row in range(len(tokens)):
        mask[row, : length - (length // 3) * row] = 1
    tokens[mask == 0] = 0
    return tokens, mask


FUSIONS = ("bias_activation_fusion", "bias_dropout_fusion", "masked_softmax_fusion")
"""What a provider may fuse without a CUDA kernel; the logits must not depend on it."""


def compare_fusions(model: Any, reference: Reference, checks: Checks) -> None:
    """The other way round with every fusion that runs on this machine; records `logits.fusions`."""
    clock = Clock()
    configs = {id(config): config for part in model.modules() if (config := getattr(part, "config", None)) is not None}
    turned = [(config, name) for config in configs.values() for name in FUSIONS if getattr(config, name, None)]
    if not turned:
        checks.skip(("logits.fusions",), "nothing is fused")
        return
    for config, name in turned:
        setattr(config, name, False)
    try:
        logits = forward(model, reference.tokens, reference.logits.shape[-1])
    finally:
        for config, name in turned:
            setattr(config, name, True)
    largest = float((logits - reference.logits).abs().nan_to_num(nan=float("inf")).max())
    value = largest if largest != float("inf") else "not finite"
    detail = f"without {', '.join(sorted({name for _, name in turned}))}"
    passed = largest < reference.limit
    checks.add("logits.fusions", passed, value=value, threshold=reference.limit, detail=detail, seconds=clock.lap())
