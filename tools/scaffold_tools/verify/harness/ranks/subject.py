"""What processes work on: a toy on disk, and how far what they find may be off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mcore.build import fill_with_nan
from mcore.no_cuda import OnCpu

from ranks.layouts import Layout
from ranks.part import Part, build_part, join
from ranks.processes import Say


@dataclass(frozen=True)
class Subject:
    """A toy of a model, saved as a checkpoint is."""

    folder: Path
    """Of the toy; what processes leave for each other lies in the folder around it."""
    model: Any
    """The Hugging Face model, as the process that forks has it."""
    tokens: torch.Tensor
    """[batch, sequence]"""
    vocabulary: int
    limit: float
    """How far logits may be off."""
    trust_remote_code: bool
    timeout: float
    """Seconds for one kind of work."""

    def meeting(self, kind: str, layout: Layout) -> Path:
        """The file where the processes of one kind of work and layout find each other."""
        return self.folder.parent / f"meeting-{kind}-{layout.name.replace(' ', '-')}"

    def bridge(self) -> Any:
        """AutoBridge's choice for the toy."""
        from megatron.bridge import AutoBridge

        return AutoBridge.from_hf_pretrained(str(self.folder), trust_remote_code=self.trust_remote_code)

    def named_limit(self, message: str) -> str:
        """What the target's own code does not do, whatever an integration says, where an error shows that; else ""."""
        return ""

    def part(self, layout: Layout, say_import: Callable[[], None]) -> Part:
        """One rank's part of the model with its weights, NaN where nothing filled them.

        Args:
            say_import: called between building and importing.
        """
        auto_bridge = self.bridge()
        part = build_part(auto_bridge, layout)
        say_import()
        for chunk in part.inner():
            fill_with_nan(chunk)
        with OnCpu():
            auto_bridge.load_hf_weights(part.chunks)
        return part


def ready(subject: Subject, layout: Layout, rank: int, say: Say, kind: str) -> Part:
    """This rank's part of the model with its weights, NaN where nothing filled them.

    Args:
        kind: first part of the names of the checks that this belongs to.
    """
    say(f"{kind}.build")
    join(layout, rank, subject.meeting(kind, layout), subject.timeout)
    return subject.part(layout, lambda: say(f"{kind}.import"))


def largest(found: torch.Tensor, wanted: torch.Tensor) -> float | str:
    """The largest difference; words where that is no number."""
    if found.shape != wanted.shape:
        return f"shape {tuple(found.shape)}, expected {tuple(wanted.shape)}"
    most = float((found - wanted).abs().nan_to_num(nan=float("inf")).max())
    return most if most != float("inf") else "not finite"


def unequal(exported: dict[str, torch.Tensor], saved: dict[str, torch.Tensor]) -> list[str]:
    """What an export has otherwise than the checkpoint, bit for bit."""
    both = saved.keys() & exported.keys()
    shapes = {name for name in both if exported[name].shape != saved[name].shape}
    return sorted(
        [
            *(f"missing: {name}" for name in saved.keys() - exported.keys()),
            *(f"not in the checkpoint: {name}" for name in exported.keys() - saved.keys()),
            *(f"of shape {tuple(exported[name].shape)}: {name}" for name in shapes),
            *(f"changed: {name}" for name in both - shapes if not torch.equal(exported[name], saved[name])),
        ]
    )
