"""A config through the whole of the machinery: probe, blueprint, plan, package, verification."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scaffold_tools.blueprint.derive import derive_blueprint
from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.blueprint.probing import probe_model
from scaffold_tools.source.inventory import Inventory, Source
from scaffold_tools.verify.lane import LaneSession
from targets.blocks.models import Model
from targets.blocks.packages import write_package

_KNOWN: dict[str, Blueprint] = {}
"""Blueprints by config: the tests of one config share its probe, which is most of what they cost."""


def blueprint_of(lane: LaneSession, config: dict[str, Any]) -> Blueprint:
    """The blueprint of a config without a checkpoint."""
    name = json.dumps(config, sort_keys=True)
    if name not in _KNOWN:
        inventory = Inventory(Source("config.json", "config", "example"), config, None)
        observations = probe_model(lane, inventory)
        assert "error" not in observations, observations["error"]
        _KNOWN[name] = derive_blueprint(inventory, None, observations)
    return _KNOWN[name]


def verify(lane: LaneSession, model: Model, folder: Path) -> dict[str, list[str]]:
    """Names of checks by status."""
    package = write_package(model, folder)
    result = lane.call(
        "verify",
        {
            "integration": {"kind": "package", "path": str(folder), "module": package},
            "config": model.config,
            "architecture": model.blueprint.architecture,
            "variants": ["a", "b"],
            "seed": 0,
            "workdir": str(folder / "work"),
            "model_folder": None,
            "trust_remote_code": False,
        },
    )
    found: dict[str, list[str]] = {}
    for check in result["checks"]:
        found.setdefault(check["status"], []).append(f"{check['name']} {check['value']} {check['detail']}")
    return found


def checks_of(
    lane: LaneSession, config: dict[str, Any], folder: Path, believe: Callable[[Model], Model] = lambda model: model
) -> dict[str, set[str]]:
    """Names of the checks by status; `believe` may change the blueprint that is generated from."""
    model = believe(Model(config, blueprint_of(lane, config)))
    return {status: {one.split()[0] for one in names} for status, names in verify(lane, model, folder).items()}
