"""An integration in processes of its own: split over several of them, saved and loaded by another, trained."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Literal

from scaffold_tools.verify.checks import CHECKS
from scaffold_tools.verify.evidence import Check
from scaffold_tools.verify.lane import LaneSession
from scaffold_tools.verify.run import Integration
from scaffold_tools.verify.static import Layout

KINDS = ("sharded.", "saved.", "trained.")
"""What the names of these checks begin with."""


def verify_processes(
    lane: LaneSession,
    integration: Integration,
    *,
    config: dict[str, Any],
    architecture: str,
    layouts: Literal["few", "all"] | Sequence[Layout] = "few",
    also: Collection[str] = ("saved", "trained"),
    seed: int = 0,
    model_folder: Path | None = None,
    trust_remote_code: bool = False,
    timeout: float = 600,
    seconds: float | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> tuple[Check, ...]:
    """Run a toy in real processes, all of them on this machine, and hold each way against one process.

    Args:
        lane: where it runs.
        integration: what is verified.
        config: the model's raw config.json.
        architecture: the Hugging Face class, as the config's `architectures` names it.
        layouts: how it is split: the usual few of those that the model can take, all of them, or these.
        also: what else is done: `saved.*`, `trained.*`.
        seed: of weights and tokens.
        model_folder: the model's own folder, for modeling code that is trusted.
        trust_remote_code: whether that code may run.
        timeout: seconds for all of it.
        seconds: for one layout; a hang ends there, and the processes with it. None: what the lane thinks usual.
        on_progress: told in one line what runs.

    Returns:
        `sharded.*` for each layout, whose name is the toy's, `saved.*` and `trained.*`.

    Raises:
        LaneJobFailed: the job itself broke.
        EnvironmentLacks: the lane is missing.
    """
    if integration.jobs.processes is None:
        return left_out("the target's lane has no processes for it")
    with tempfile.TemporaryDirectory(prefix="scaffold-processes-") as scratch:
        request = {
            "integration": integration.as_request(),
            "config": config,
            "architecture": architecture,
            "layouts": layouts if isinstance(layouts, str) else [_sizes(layout) for layout in layouts],
            "saved": "saved" in also,
            "trained": "trained" in also,
            "seed": seed,
            "seconds": seconds,
            "workdir": scratch,
            "model_folder": str(model_folder.resolve()) if model_folder else None,
            "trust_remote_code": trust_remote_code,
        }
        answer = lane.call(integration.jobs.processes, request, timeout=timeout, on_progress=on_progress)
    return tuple(Check(**check) for check in answer["checks"])


def _sizes(layout: Layout) -> dict[str, Any]:
    return {name: getattr(layout, name) for name in ("tp", "pp", "ep", "cp", "vpp", "sp")}


def with_sharded(checks: Sequence[Check], sharded: Sequence[Check]) -> tuple[Check, ...]:
    """Checks with these layouts in the place of those that they had, and of a checkpoint that was saved before."""
    return (*(check for check in checks if not check.name.startswith(("sharded.", "saved."))), *sharded)


def left_out(why: str) -> tuple[Check, ...]:
    """Every check of this kind as skipped: what did not run proves nothing."""
    return tuple(Check(kind.name, "skipped", detail=why) for kind in CHECKS if kind.name.startswith(KINDS))
