"""From a config alone to an integration and its proof, and what it takes to believe something else on the way."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from scaffold_tools.blueprint.derive import derive_blueprint
from scaffold_tools.blueprint.facts import Blueprint, Const, Fact
from scaffold_tools.blueprint.probing import probe_model
from scaffold_tools.source.read import read_inventory
from scaffold_tools.targets.megatron_bridge.plan import make_plan
from scaffold_tools.verify.evidence import Evidence
from scaffold_tools.verify.lane import LaneSession
from scaffold_tools.verify.run import Integration, verify_integration
from scaffold_tools.workspace import apply
from targets.blocks.packages import lane_profile


def derived(lane: LaneSession, config: dict[str, Any], folder: Path) -> Blueprint:
    """The blueprint of a config in a folder of its own."""
    (folder / "config.json").write_text(json.dumps(config))
    inventory = read_inventory(str(folder), derive_table=lambda request: lane.call("tensor_table", request))
    return derive_blueprint(inventory, None, probe_model(lane, inventory))


def proof(
    lane: LaneSession,
    blueprint: Blueprint,
    config: dict[str, Any],
    folder: Path,
    **given: Any,
) -> Evidence:
    """`given` may have `variants`, and `switched`: flags of one more toy, by default those that the plan names."""
    plan = make_plan(blueprint, root=folder / "package", profile=lane_profile())
    apply(plan, folder / "package", record_dir=folder / "record")
    integration = Integration("package", folder / "package", plan.package)
    return verify_integration(
        lane,
        integration,
        config=config,
        architecture=blueprint.architecture,
        workdir=folder / "toys",
        **{"switched": plan.switched, **given},
    )


def believing(blueprint: Blueprint, name: str, value: Any) -> Blueprint:
    fact = Fact(name, value, "measured", (), Const(value))
    return dataclasses.replace(blueprint, facts=(*(one for one in blueprint.facts if one.name != name), fact))
