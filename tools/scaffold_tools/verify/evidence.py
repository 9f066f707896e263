"""What verification measured. A skipped check is never a passed one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Check:
    """One check and its result."""

    name: str
    """A row of `verify/checks.py`: `import.coverage`, `round_trip.exact`, `logits.max_abs`, ..."""
    status: Literal["passed", "failed", "skipped", "error"]
    value: float | int | str | None = None
    """The figure that was measured."""
    threshold: float | int | str | None = None
    detail: str = ""
    seconds: float | None = None
    toy: str = ""
    """Which toy it ran on (`canary-a`, `canary-b`, ...)."""


@dataclass(frozen=True)
class Evidence:
    """The outcome of one verification run, as stored in the run folder."""

    lane: Literal["cpu", "gpu", "gpu-multi"]
    bridge: str
    """`module:Class` that AutoBridge picked."""
    replaced: str | None
    """`module:Class` that it replaced, if any."""
    checks: tuple[Check, ...]
    environment: dict[str, Any]
    """Versions of Python, torch, transformers, megatron-core, megatron-bridge; threads; whether TE is the stand-in."""
    seconds: float
    command: str = ""

    @property
    def proven(self) -> bool:
        """True when checks ran, at least one compared logits, and none failed or broke."""
        bad = any(check.status in ("failed", "error") for check in self.checks)
        compared = [check for check in self.checks if check.name.startswith(("logits.", "gpu.logits"))]
        logits = any(check.status == "passed" for check in compared)
        return logits and not bad
