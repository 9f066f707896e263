"""What every measurement is given: a toy, and what its files hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from checks.reference import Reference


@dataclass(frozen=True)
class Toy:
    """A small Hugging Face model on disk."""

    reference: Reference
    model_type: str
    """Of its loaded config: what templates are registered under."""
    saved: dict[str, torch.Tensor]
    """Its tensors."""

    @property
    def folder(self) -> Path:
        """Where it is saved."""
        return self.reference.folder

    def beside(self, kind: str) -> Path:
        """A folder for something that is made of it."""
        return self.folder.with_name(f"{self.folder.name}-{kind}")
