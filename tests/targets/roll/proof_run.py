"""Runs the proof of ROLL on templates that a checkout has, changed or as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scaffold_tools.verify.lane import LaneSession
from scaffold_tools.verify.roll import ROLL_JOBS
from scaffold_tools.verify.run import Integration
from targets.roll.proof_packages import Change, write_package


def integration(repo: Path, folder: Path, name: str, model_type: str, change: Change | None) -> Integration:
    """ROLL's own template, or a changed one in a package."""
    if change is None:
        return Integration("checkout", repo, jobs=ROLL_JOBS, framework=repo)
    module = write_package(folder, name, model_type, change)
    return Integration("package", folder, module, jobs=ROLL_JOBS, framework=repo)


def prove(
    lane: LaneSession,
    found: Integration,
    config: dict[str, Any],
    folder: Path,
    *,
    variants: tuple[str, ...] = ("a",),
    layouts: Any = (),
) -> list[dict[str, Any]]:
    """The checks of one integration."""
    request = {
        "integration": found.as_request(),
        "config": config,
        "architecture": config["architectures"][0],
        "variants": list(variants),
        "layouts": layouts if isinstance(layouts, str) else list(layouts),
        "workdir": str(folder),
    }
    return list(lane.call(ROLL_JOBS.verify, request)["checks"])


def statuses(checks: list[dict[str, Any]]) -> dict[str, str]:
    """Status by name; the worst where a check ran several times."""
    order = ("passed", "skipped", "failed", "error")
    worst: dict[str, str] = {}
    for check in checks:
        before = worst.get(check["name"], "passed")
        worst[check["name"]] = max(before, check["status"], key=order.index)
    return worst
