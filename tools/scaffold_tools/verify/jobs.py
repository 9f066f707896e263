"""Which jobs of the lane measure integrations into a target: a row of the table of targets names them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Jobs:
    """Modules of the harness, one a way of measuring."""

    verify: str = "verify"
    locate: str = "locate"
    static: str = "static"
    processes: str | None = "processes"
    """None where a target has nothing that splits, saves or trains."""


USUAL_JOBS = Jobs()
"""For a target that the lane has as a package: Megatron-Bridge."""
