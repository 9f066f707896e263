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
    the two best tokens lie closer than the tolerance of logits, either is right and the comparison ends. A model whose
    cache changes what it writes (a rope that stretches with the length keeps keys of an earlier stretch) is compared
    without it.
    """
    clock = Clock()
    prompt = reference.tokens[:, :PROMPT]
    why = detail = ""
    for cached in (True, False):
        try:
            written = _generated(reference.model, prompt, cached)
        except Exception as error:  # a loop of its own, or none: parity of logits does not need it
            why = why or " ".join(str(error).split())[:200]
            continue
        agreed, differs = _agreed(model, reference, prompt, written)
        if not differs:
            note = (
                ""
                if cached or not detail
                else f"without cache; with it Hugging Face itself writes otherwise: {detail}"
            )
            checks.add("generation.greedy", True, value=agreed, threshold="all", detail=note, seconds=clock.lap())
            return
        detail = differs
    if not detail:
        checks.skip(("generation.greedy",), f"generate() does not run: {why}")
        return
    checks.add("generation.greedy", False, value=agreed, threshold="all", detail=detail, seconds=clock.lap())


def _agreed(model: Any, reference: Reference, prompt: torch.Tensor, written: torch.Tensor) -> tuple[str, str]:
    """How many of the written tokens Megatron writes, too, and the first that it does not."""
    text, agreed, detail = prompt, 0, ""
    for step in range(written.shape[1]):
        best = forward(model, text, reference.logits.shape[-1])[:, -1].topk(2, -1)
        chosen = best.indices[:, 0]
        other = (chosen != written[:, step]) & (best.values[:, 0] - best.values[:, 1] > reference.limit)
        if bool(other.any()):
            sequence = int(other.nonzero()[0])
            detail = f"token {step}: {int(chosen[sequence])} here, {int(written[sequence, step])} in Hugging Face"
            break
        agreed += 1
        text = torch.cat([text, written[:, step : step + 1]], 1)
    return f"{agreed}/{written.shape[1]}", detail


def _generated(model: Any, prompt: torch.Tensor, cached: bool) -> torch.Tensor:
    """New tokens [batch, steps]; nothing ends the text early."""
    options = {"do_sample": False, "max_new_tokens": STEPS, "min_new_tokens": STEPS, "eos_token_id": None}
    options |= {"use_cache": cached, "pad_token_id": 0}
    with torch.no_grad():
        made = model.generate(prompt, attention_mask=torch.ones_like(prompt), **options)
    return made[:, prompt.shape[1] :]
