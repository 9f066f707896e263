"""Gradients of a loss over the next token, in the names of the checkpoint, and how far two sets of them are apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ranks.part import Batch

FLOOR = 1e-2
"""Share of the usual size of a gradient below which one counts as nothing: a bias of keys has rounding alone."""


def of_hugging_face(model: Any, batch: Batch, folder: Path) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss, and gradients as files have them, experts apart. The model's weights are gone afterwards."""
    from checks.weights import load_saved

    with torch.enable_grad():
        logits = model(input_ids=batch.tokens, use_cache=False).logits.float()
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.labels.flatten())
        loss.backward()
    for parameter in model.parameters():
        parameter.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    for buffer in model.buffers():  # saved tables have no gradient
        buffer.data = torch.zeros_like(buffer)
    model.save_pretrained(folder)
    return float(loss), load_saved(folder)


def furthest(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> tuple[float | str, str]:
    """By how much of its own size the worst of `found` is off, and which one that is."""
    sizes = {name: float(gradient.abs().max()) for name, gradient in wanted.items() if gradient.numel()}
    usual = sorted(sizes.values())[len(sizes) // 2]
    shares = {}
    for name, size in sizes.items():
        same = name in found and found[name].shape == wanted[name].shape
        far = float((found[name] - wanted[name]).abs().nan_to_num(nan=float("inf")).max()) if same else float("inf")
        shares[name] = far / max(size, FLOOR * usual, 1e-30)
    worst = max(shares, key=lambda name: shares[name])
    return shares[worst] if shares[worst] != float("inf") else "not finite", worst
