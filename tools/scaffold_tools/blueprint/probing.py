"""Ask the lane to probe a model. A probe that fails is an answer, not the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from scaffold_tools.errors import CheckFailed
from scaffold_tools.source.inventory import Inventory


class Lane(Protocol):
    """What `verify.lane.LaneSession` offers."""

    def call(
        self, job: str, request: dict[str, Any], timeout: float = 300, on_progress: Callable[[str], None] | None = None
    ) -> dict[str, Any]:
        """Run a job of the harness."""
        ...


def probe_model(
    lane: Lane,
    inventory: Inventory,
    *,
    trust_remote_code: bool = False,
    model_folder: Path | None = None,
    timeout: float = 300,
    on_progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Observations of a model's toy (see harness/jobs/probe.py), or `{"error": why}` where its class could not be run.

    Args:
        lane: an open lane session.
        inventory: config and where it came from.
        trust_remote_code: whether the model's own modeling code may run; only then is `model_folder` used.
        model_folder: the folder with that code.
        timeout: seconds.
        on_progress: gets lines of progress.
    """
    architectures = inventory.config.get("architectures") or [None]
    request = {
        "config": inventory.config,
        "architecture": architectures[0],
        "trust_remote_code": trust_remote_code,
        "model_folder": str(model_folder) if trust_remote_code and model_folder else None,
    }
    try:
        return lane.call("probe", request, timeout, on_progress)
    except CheckFailed as failure:
        return {"error": f"the probe failed ({failure.what})"}
