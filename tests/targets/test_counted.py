"""What a config counts and no mapping fills is not built, and the exported config does not promise it."""

from __future__ import annotations

from dataclasses import replace

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.targets.megatron_bridge.counted import not_built
from scaffold_tools.targets.megatron_bridge.exports import config_exports
from scaffold_tools.targets.megatron_bridge.rules import Setting, settle
from targets.blueprints import qwen3, with_key
from targets.test_rules import FIELDS, PROFILE

AHEAD = (("num_nextn_predict_layers", "mtp_num_layers"), ("mtp_num_hidden_layers", "mtp_num_layers"))
EXPERTS = ("num_experts", "num_moe_experts")
KNOWS = replace(
    PROFILE,
    config_mapping=(*PROFILE.config_mapping, *AHEAD, EXPERTS),
    provider_fields=FIELDS | {"mtp_num_layers", "num_moe_experts"},
)


def stays_none(blueprint: Blueprint) -> list[Setting]:
    settings = settle(blueprint, KNOWS).settings
    return [row for row in settings if row.attribute in ("mtp_num_layers", "num_moe_experts")]


def test_prediction_layers_that_a_config_asks_for_are_not_built() -> None:
    (setting,) = stays_none(with_key(qwen3(), "num_nextn_predict_layers", 1))
    assert (setting.attribute, setting.code) == ("mtp_num_layers", "None")


def test_a_config_that_asks_for_none_gets_no_line_about_them() -> None:
    assert not stays_none(qwen3())
    assert not stays_none(with_key(qwen3(), "num_nextn_predict_layers", 0))
    assert not not_built(with_key(qwen3(), "num_nextn_predict_layers", 1), PROFILE), "nothing reads the key"


def test_the_exported_config_promises_no_prediction_layers() -> None:
    blueprint = with_key(qwen3(), "num_nextn_predict_layers", 1)
    exported = dict(config_exports(blueprint, KNOWS, stays_none(blueprint)))
    assert exported["num_nextn_predict_layers"] == "0", "no tensor of theirs is exported"
    assert "mtp_num_hidden_layers" not in exported


def test_experts_that_no_layer_has_keep_their_number_in_the_exported_config() -> None:
    blueprint = with_key(qwen3(), "num_experts", 16)
    (setting,) = stays_none(blueprint)
    assert "num_experts counts some" in setting.comment
    assert dict(config_exports(blueprint, KNOWS, [setting]))["num_experts"] == "16"
