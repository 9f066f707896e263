"""The config that comes back means what the original meant; each row was found by building the class from it."""

from __future__ import annotations

from dataclasses import replace

from scaffold_tools.blueprint.facts import KeyUse, Product, Rounded, Term
from scaffold_tools.targets.megatron_bridge.exports import config_exports
from scaffold_tools.targets.megatron_bridge.rules import Setting
from targets.blueprints import qwen3
from targets.test_rules import PROFILE


def exports(*settings: Setting, **values: object) -> dict[str, str | None]:
    blueprint = qwen3()
    own = tuple(use for use in blueprint.keys if use.key not in values)
    keys = (*own, *(KeyUse(key, value, True, "a fact") for key, value in values.items()))
    profile = replace(PROFILE, config_mapping=(*PROFILE.config_mapping, ("num_experts", "num_moe_experts")))
    return dict(config_exports(replace(blueprint, keys=keys), profile, settings))


def test_a_key_that_the_model_leaves_empty_stays_empty_where_another_one_gave_the_attribute() -> None:
    setting = Setting("layernorm_epsilon", "hf_config.layer_norm_eps")
    assert exports(setting, rms_norm_eps=None)["rms_norm_eps"] == "None"
    assert "rms_norm_eps" not in exports(setting, rms_norm_eps=1e-6)


def test_a_key_keeps_what_it_said_where_the_attribute_is_none_whatever_it_says() -> None:
    assert exports(Setting("num_moe_experts", "None"), num_experts=16)["num_experts"] == "16"
    assert "num_experts" not in exports(num_experts=16)


def test_half_a_width_comes_back_whole() -> None:
    half = Product((Term("intermediate_size", 1.0),), 0.5)
    setting = Setting("ffn_hidden_size", "hf_config.intermediate_size // 2", expression=half)
    assert exports(setting)["intermediate_size"] == "round((provider.ffn_hidden_size / 0.5))"
    plain = Setting("ffn_hidden_size", "x", expression=Product((Term("intermediate_size", 1.0),), 1.0))
    assert "intermediate_size" not in exports(plain)


def test_a_rounded_width_is_left_to_the_config_that_export_starts_from() -> None:
    rounded = Rounded("intermediate_size", None, "multiple_of", 2 / 3)
    assert exports(Setting("ffn_hidden_size", "x", expression=rounded))["intermediate_size"] is None
