"""What a user sees: the tokens that both models write on, greedily."""

from __future__ import annotations

from typing import Any

import torch
from mcore.build import forward

from checks.measured import Checks, Clock
from checks.reference import Reference

PROMPT = 12
STEPS = 6


def compare_generation(model: Any, reference: Reference, checks: Checks) -> None:
    """Write on from a prompt, token by token; records `generation.greedy`.

    Hugging Face writes with its own `generate`, cache included; Megatron is given the whole text at each step. Where
    the two best tokens lie closer than the tolerance of logits, either is right and the comparison ends.
    """
    clock = Clock()
    prompt = reference.tokens[:, :PROMPT]
    vocabulary = reference.logits.shape[-1]
    written, why = _written(reference.model, prompt)
    if written is None:
        checks.skip(("generation.greedy",), f"generate() does not run: {why}")
        return
    text, agreed, detail = prompt, 0, ""
    for step in range(written.shape[1]):
        best = forward(model, text, vocabulary)[:, -1].topk(2, -1)
        chosen = best.indices[:, 0]
        other = (chosen != written[:, step]) & (best.values[:, 0] - best.values[:, 1] > reference.limit)
        if bool(other.any()):
            sequence = int(other.nonzero()[0])
            detail = f"token {step}: {int(chosen[sequence])} here, {int(written[sequence, step])} in Hugging Face"
            break
        agreed += 1
        text = torch.cat([text, written[:, step : step + 1]], 1)
    total = written.shape[1]
    value = f"{agreed}/{total}"
    checks.add("generation.greedy", not detail, value=value, threshold="all", detail=detail, seconds=clock.lap())


def _written(model: Any, prompt: torch.Tensor) -> tuple[torch.Tensor | None, str]:
    """What Hugging Face writes: with its cache, or without where that does not run; else None, and why."""
    why = ""
    for cached in (True, False):
        try:
            return _generated(model, prompt, cached), ""
        except Exception as error:  # a loop of its own, or none: parity of logits does not need it
            why = why or " ".join(str(error).split())[:200]
    return None, why


def _generated(model: Any, prompt: torch.Tensor, cached: bool) -> torch.Tensor:
    """New tokens [batch, steps]; nothing ends the text early."""
    options = {"do_sample": False, "max_new_tokens": STEPS, "min_new_tokens": STEPS, "eos_token_id": None}
    options |= {"use_cache": cached, "pad_token_id": 0}
    with torch.no_grad():
        made = model.generate(prompt, attention_mask=torch.ones_like(prompt), **options)
    return made[:, prompt.shape[1] :]
