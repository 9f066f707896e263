"""Writes the package that the target plans for a model."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from scaffold_tools.targets.megatron_bridge.plan import make_plan
from scaffold_tools.targets.megatron_bridge.profile import Profile, read_profile
from scaffold_tools.verify.lane_env import find_lane
from targets.blocks.models import Model


@cache
def lane_profile() -> Profile:
    """The profile of the Megatron-Bridge that the lane has."""
    lane = find_lane()
    assert lane is not None
    (site_packages,) = lane.python.parent.parent.glob("lib/python3.*/site-packages")
    return read_profile(site_packages)


def write_package(model: Model, folder: Path) -> str:
    """Render the integration into `folder`; returns the module that registers it."""
    plan = make_plan(model.blueprint, root=folder, profile=lane_profile())
    for change in plan.changes:
        path = folder / change.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(change.content, encoding="utf-8")
    return plan.package
