"""Models with their own code, strange tensor names and strange keys are proven as Llama is."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from scaffold_tools.blueprint.derive import derive_blueprint
from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.blueprint.probing import probe_model
from scaffold_tools.source.inventory import Inventory, Source
from scaffold_tools.targets.megatron_bridge.plan import make_plan
from scaffold_tools.verify.evidence import Evidence
from scaffold_tools.verify.lane import LaneSession
from scaffold_tools.verify.run import Integration, verify_integration
from scaffold_tools.workspace import apply
from support.lane_fixture import lane
from targets.blocks.packages import lane_profile

__all__ = ["lane"]
pytestmark = pytest.mark.lane
TESTS = Path(__file__).parent.parent
UNSEEN = TESTS / "targets" / "unseen"
FOLDERS = {
    **{folder.name: folder for folder in sorted(UNSEEN.iterdir()) if (folder / "config.json").is_file()},
    "quarry": TESTS / "blueprint" / "unseen" / "plain",
    "parallel": TESTS / "blueprint" / "unseen" / "parallel",
}


def config_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDERS[name] / "config.json").read_text())
    return found


def derived(lane: LaneSession, name: str) -> Blueprint:
    inventory = Inventory(Source(str(FOLDERS[name]), "folder", name), config_of(name), None)
    found = probe_model(lane, inventory, trust_remote_code=True, model_folder=FOLDERS[name])
    return derive_blueprint(inventory, None, found)


def proof(lane: LaneSession, blueprint: Blueprint, name: str, folder: Path) -> Evidence:
    plan = make_plan(blueprint, root=folder / "package", profile=lane_profile())
    assert plan.gaps == ()
    apply(plan, folder / "package", record_dir=folder / "record")
    return verify_integration(
        lane,
        Integration("package", folder / "package", plan.package),
        config=config_of(name),
        architecture=blueprint.architecture,
        workdir=folder / "toys",
        model_folder=FOLDERS[name],
        trust_remote_code=True,
    )


FEW = ("comet", "duet", "fjord", "gossip", "kelp", "opal", "sakura", "tundra")
"""Each shows something that no other does; the rest is run where SCAFFOLD_ALL_UNSEEN is set."""
CHOSEN = sorted(FOLDERS) if os.environ.get("SCAFFOLD_ALL_UNSEEN") else FEW


@pytest.mark.parametrize("name", CHOSEN)
def test_an_architecture_that_nobody_knows_is_proven(lane: LaneSession, tmp_path: Path, name: str) -> None:
    found = proof(lane, derived(lane, name), name, tmp_path)
    assert found.proven, [check for check in found.checks if check.status != "passed"]


WRONG = (
    ("ladder", "attn.qkv", {"packing": "per_head:q,k,v"}),
    ("weir", "mlp.gate_up", {"packing": "concat:gate,up"}),
    ("tundra", "attn.kv", {"packing": "grouped:k,v"}),
)


@pytest.mark.parametrize(("name", "role", "change"), WRONG)
def test_its_rows_in_another_order_are_not_proven(
    lane: LaneSession, tmp_path: Path, name: str, role: str, change: dict[str, Any]
) -> None:
    blueprint = derived(lane, name)
    roles = tuple(dataclasses.replace(row, **change) if row.role == role else row for row in blueprint.roles)
    assert not proof(lane, dataclasses.replace(blueprint, roles=roles), name, tmp_path).proven


def test_keys_that_the_code_does_not_follow_are_told(lane: LaneSession) -> None:
    notes = [note.split(" ")[2] for note in derived(lane, "gossip").notes if note.startswith("config lies")]
    followed = {"num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size", "max_position_embeddings"}
    names = {key for key, value in config_of("gossip").items() if isinstance(value, (int, float, str))}
    assert set(notes) == names - followed - {"model_type", "sliding_window"}


def test_a_weight_on_the_difference_of_heads_is_a_tensor_of_the_model(lane: LaneSession) -> None:
    blueprint = derived(lane, "duet")
    weight = blueprint.role("attn.difference.norm", "other")
    assert weight is not None and weight.pattern == "model.layers.*.self_attn.groupnorm.weight"
    constants = [blueprint.value(f"attention.difference.{name}") for name in ("base", "drop", "rate")]
    assert constants == [0.7, 0.45, 0.2]
