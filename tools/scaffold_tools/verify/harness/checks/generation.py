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
    the two best tokens lie closer than the tolerance of logits, either is right and the comparison ends. There is
    nothing to compare with where Hugging Face itself, fresh from disk and given the whole text, writes another token:
    a rope that stretches with the length keeps keys, and frequencies, of an earlier stretch.
    """
    clock = Clock()
    prompt = reference.tokens[:, :PROMPT]
    written, why = _written(reference.model, prompt)
    if written is None:
        checks.skip(("generation.greedy",), f"generate() does not run: {why}")
        return
    text, agreed, total, detail = prompt, 0, written.shape[1], ""
    for step in range(total):
        best = forward(model, text, reference.logits.shape[-1])[:, -1].topk(2, -1)
        chosen = best.indices[:, 0]
        other = (chosen != written[:, step]) & (best.values[:, 0] - best.values[:, 1] > reference.limit)
        if bool(other.any()):
            row = int(other.nonzero()[0])
            if int(_fresh(reference, text)[row]) == int(chosen[row]):
                why = f"token {step}: Hugging Face itself writes another one with what it kept of earlier tokens"
                checks.skip(("generation.greedy",), why)
                return
            detail = f"token {step}: {int(chosen[row])} here, {int(written[row, step])} in Hugging Face"
            break
        agreed += 1
        text = torch.cat([text, written[:, step : step + 1]], 1)
    value = f"{agreed}/{total}"
    checks.add("generation.greedy", not detail, value=value, threshold="all", detail=detail, seconds=clock.lap())


def _fresh(reference: Reference, text: torch.Tensor) -> torch.Tensor:
    """The next token of each text, by a model that has seen nothing before."""
    model = reference.model
    if reference.folder is not None:
        options = {"attn_implementation": "eager", "dtype": torch.float32}
        model = type(model).from_pretrained(str(reference.folder), **options).eval()
    with torch.no_grad():
        return model(input_ids=text, use_cache=False).logits[:, -1].argmax(-1)


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
