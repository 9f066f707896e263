"""A class that runs on the language part of a nested config is proven, and its code reads that part alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scaffold_tools.blueprint.derive import derive_blueprint
from scaffold_tools.blueprint.probing import probe_model
from scaffold_tools.source.read import read_inventory
from scaffold_tools.targets.megatron_bridge.plan import make_plan
from scaffold_tools.verify.lane import LaneSession
from scaffold_tools.verify.run import Integration, verify_integration
from scaffold_tools.workspace import apply
from support.lane_fixture import lane
from targets.blocks.packages import lane_profile
from targets.blueprints import qwen3
from targets.test_plan import texts

__all__ = ["lane"]
CONFIG: dict[str, Any] = {
    "model_type": "emu3",
    "architectures": ["Emu3ForCausalLM"],
    "text_config": {
        "vocab_size": 512, "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4,
        "num_attention_heads": 8, "num_key_value_heads": 2, "max_position_embeddings": 128, "pad_token_id": 3,
    },
    "vq_config": {"codebook_size": 64},
}  # fmt: skip


@pytest.mark.lane
def test_the_language_part_of_a_nested_config_is_proven(lane: LaneSession, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    inventory = read_inventory(str(tmp_path / "config.json"), derive_table=lambda one: lane.call("tensor_table", one))
    blueprint = derive_blueprint(inventory, None, probe_model(lane, inventory))
    assert blueprint.config_part == "text_config"
    assert {use.key for use in blueprint.keys} & {"text_config", "vq_config"} == set()
    plan = make_plan(blueprint, root=tmp_path / "package", profile=lane_profile())
    assert plan.gaps == ()
    apply(plan, tmp_path / "package", record_dir=tmp_path / "record")
    found = verify_integration(
        lane,
        Integration("package", tmp_path / "package", plan.package),
        config=CONFIG,
        architecture=blueprint.architecture,
        workdir=tmp_path / "toys",
    )
    assert found.proven, [check for check in found.checks if check.status != "passed"]


def test_code_reads_the_part_and_exports_it_as_one() -> None:
    written = texts(replace(qwen3(), config_part="text_config"))
    bridge = written["scaffold_qwen3/qwen3_bridge.py"]
    assert "hf_pretrained.config.get_text_config()" in bridge
    assert '{**whole, "text_config": hf_config}' in bridge
    assert '"text_config": {' in written["tests/test_qwen3_bridge.py"]
    assert "text_config" not in texts(qwen3())["scaffold_qwen3/qwen3_bridge.py"]
