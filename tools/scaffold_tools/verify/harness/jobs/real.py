"""The job that lets both models write on from a prompt, with the real weights and the real tokenizer."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import progress
import torch
from checks.measured import Checks, Clock
from echo import versions
from mcore.build import build_megatron, forward, prepare_process
from mcore.integration import class_name, expected, register
from mcore.no_cuda import OnCpu, neutralise

from verify import preload

__all__ = ["preload", "run"]

STEPS = 16
TIE = 1e-3
"""Of the deviation of logits: a token that is that close to the best is as good."""
SHOWN = 160
"""Characters of the text in the evidence."""


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Write on with Hugging Face, cache and all; give the whole text to Megatron and compare every token.

    Args:
        request: `integration`, `architecture`, `model_folder`, `prompt`, `trust_remote_code`, `workdir`.

    Returns:
        `bridge`, `checks` (`generation.real`), `environment`.
    """
    neutralise()
    prepare_process(Path(request["workdir"]))
    register(request["integration"], request["architecture"])
    folder, trusted = request["model_folder"], bool(request.get("trust_remote_code"))
    checks, clock = Checks("real weights"), Clock()
    progress.say("real weights: Hugging Face")
    text, prompted, logits, prompt, written = _hugging_face(folder, request["prompt"], trusted)
    gc.collect()
    progress.say("real weights: Megatron")
    from megatron.bridge import AutoBridge

    auto_bridge = AutoBridge.from_hf_pretrained(folder, trust_remote_code=trusted)
    picked = type(auto_bridge._model_bridge)
    right, wanted = expected(request["integration"], picked)
    model, _, _ = build_megatron(auto_bridge)
    with OnCpu():
        auto_bridge.load_hf_weights([model])
    here = forward(model, text, logits.shape[-1])[0, prompted - 1 : -1]
    chosen = text[0, prompted:]
    short = here.max(-1).values - here.gather(-1, chosen[:, None])[:, 0]
    off = (~(short <= TIE * float(logits.std()))).nonzero().flatten().tolist()
    total, agreed = len(chosen), len(chosen) - len(off)
    detail = f"largest difference of logits {float((here - logits).abs().max()):.2e}"
    if off:
        detail = f"from token {off[0]} on another one is better by {float(short[off[0]]):.3g}; {detail}"
    if not right:
        detail = f"{class_name(picked)} was picked, not {wanted}; {detail}"
    value = f"{agreed}/{total} tokens: {prompt!r} -> {written!r}"[:SHOWN]
    passed = right and total > 0 and not off
    checks.add("generation.real", passed, value=value, threshold="all", detail=detail, seconds=clock.lap())
    return {"bridge": class_name(picked), "checks": checks.done, "environment": versions()}


def _hugging_face(folder: str, prompt: str, trusted: bool) -> tuple[torch.Tensor, int, torch.Tensor, str, str]:
    """Text [1, length] with the prompt, the prompt's length, logits of each new token, and both texts in words."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trusted)
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", trust_remote_code=trusted
    ).eval()
    tokens = tokenizer(prompt, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        text = model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            do_sample=False,
            max_new_tokens=STEPS,
            pad_token_id=tokenizer.pad_token_id or 0,
        )
        logits = model(input_ids=text, use_cache=False).logits[0, tokens.shape[1] - 1 : -1].float()
    written = tokenizer.decode(text[0, tokens.shape[1] :], skip_special_tokens=True)
    return text, tokens.shape[1], logits, prompt, written
