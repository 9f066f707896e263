"""Rotary tables in plain Python are those of transformers, for every scaling type."""

from __future__ import annotations

from typing import Any

import pytest

from blueprint.models import BASE
from scaffold_tools.blueprint.derive import derive_blueprint
from scaffold_tools.blueprint.probing import probe_model
from scaffold_tools.blueprint.rope import Setting, agrees, base_table, table
from scaffold_tools.source.inventory import Inventory, Source
from scaffold_tools.verify.lane import LaneSession

SETTING = Setting(dim=8, max_position_embeddings=1024, original=0, length=2048)
SCALED = (
    {"rope_type": "linear", "factor": 3.0},
    {"rope_type": "dynamic", "factor": 3.0},
    {"rope_type": "yarn", "factor": 3.0, "original_max_position_embeddings": 256},
    {"rope_type": "yarn", "factor": 3.0, "original_max_position_embeddings": 256, "beta_fast": 20, "beta_slow": 2},
    {
        "rope_type": "llama3",
        "factor": 3.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 256,
    },
)


def test_the_base_table_is_the_geometric_series_of_the_base() -> None:
    assert base_table(10000.0, 4) == (1.0, 0.01)


def test_linear_scaling_divides_every_frequency() -> None:
    found = table({"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}, SETTING)
    assert found is not None and found.inv_freq == tuple(one / 4 for one in base_table(10000.0, 8))


def test_settings_that_lack_a_number_give_no_table() -> None:
    assert table({"rope_type": "linear", "rope_theta": 10000.0}, SETTING) is None
    assert table({"rope_type": "unheard of", "rope_theta": 10000.0}, SETTING) is None


def test_another_base_does_not_agree() -> None:
    right = table({"rope_theta": 10000.0}, SETTING)
    wrong = table({"rope_theta": 10100.0}, SETTING)
    assert right is not None and wrong is not None
    assert agrees(right, list(right.inv_freq), 1.0)
    assert not agrees(wrong, list(right.inv_freq), 1.0)
    assert not agrees(right, list(right.inv_freq), 1.1)


@pytest.mark.lane
@pytest.mark.parametrize("scaling", SCALED, ids=lambda one: f"{one['rope_type']}-{len(one)}")
def test_each_scaling_type_is_recognised_from_the_rotation_itself(lane: LaneSession, scaling: dict[str, Any]) -> None:
    config = {**BASE, "model_type": "llama", "architectures": ["LlamaForCausalLM"], "rope_scaling": scaling}
    inventory = Inventory(Source("config.json", "config", "example"), config, None)
    blueprint = derive_blueprint(inventory, None, probe_model(lane, inventory))
    assert blueprint.gaps == ()
    assert [one["type"] for one in blueprint.value("rope.sets")] == [scaling["rope_type"]]
