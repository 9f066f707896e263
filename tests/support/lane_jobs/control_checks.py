"""Job of the tests: checks of logits and generation, given models that are right or wrong in one way each."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from checks.generation import compare_generation
from checks.logits import compare_fusions, compare_padded
from checks.measured import Checks
from checks.reference import Reference

WORDS = 40


class Wanted:
    """Plays the Hugging Face model: the logits of a token depend on it and on the one before."""

    def __init__(self) -> None:
        self.table = torch.randn(WORDS, WORDS, generator=torch.Generator().manual_seed(3))

    def __call__(self, input_ids: torch.Tensor, **_: Any) -> Any:
        before = torch.cat([input_ids[:, :1], input_ids[:, :-1]], 1)
        return SimpleNamespace(logits=self.table[input_ids] + 0.5 * self.table[before])

    def generate(self, prompt: torch.Tensor, max_new_tokens: int, **_: Any) -> torch.Tensor:
        for _step in range(max_new_tokens):
            prompt = torch.cat([prompt, self(prompt).logits[:, -1:].argmax(-1)], 1)
        return prompt


class Made(torch.nn.Module):
    """Plays the Megatron model."""

    def __init__(self, wanted: Wanted, fault: str) -> None:
        super().__init__()
        self.wanted, self.fault = wanted, fault
        self.config = SimpleNamespace(bias_activation_fusion=True)

    def forward(self, input_ids: torch.Tensor, **_: Any) -> torch.Tensor:
        logits = self.wanted(input_ids).logits
        if self.fault == "looks ahead":
            logits = logits + 0.01 * self.wanted.table[input_ids[:, -1:]]
        if self.fault == "fused alone is right" and not self.config.bias_activation_fusion:
            logits = logits + 0.01
        if self.fault == "writes otherwise":
            logits = logits.roll(1, -1)
        return logits


def run(request: dict[str, Any]) -> dict[str, Any]:
    """The checks for each fault: name -> status."""
    wanted = Wanted()
    tokens = torch.randint(1, WORDS, (2, 30), generator=torch.Generator().manual_seed(5))
    reference = Reference(None, {}, tokens, wanted(tokens).logits, wanted)  # type: ignore[arg-type]
    found = {}
    for fault in request["faults"]:
        checks = Checks("control")
        model = Made(wanted, fault)
        compare_padded(model, reference, checks)
        compare_fusions(model, reference, checks)
        compare_generation(model, reference, checks)
        found[fault] = {one["name"]: one["status"] for one in checks.done}
    return found
