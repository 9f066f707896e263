"""Toys of real model types build, run, and have nothing left at a default."""

from __future__ import annotations

from typing import Any

import pytest

from scaffold_tools.verify.lane import LaneSession

pytestmark = pytest.mark.lane

DENSE: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {},
    "qwen2": {},
    "qwen3": {},
    "gemma": {},
    "gemma2": {},
    "gemma3_text": {},
    "nemotron": {"num_key_value_heads": 8},  # its own default, None, does not build
    "starcoder2": {},
    "granite": {},
    "olmo2": {},
}
OTHERS: dict[str, dict[str, Any]] = {"mixtral": {}, "deepseek_v3": {}, "qwen3_next": {}, "gpt_oss": {}}
TABLES: dict[str, dict[str, Any]] = {"minimax": {}}
RENAMED = {
    "model_type": "a_name_of_its_own",
    "architectures": ["Qwen3ForCausalLM"],
    "num_hidden_layers": 28,
    "vocab_size": 151936,
}


@pytest.fixture(scope="module")
def seen(lane: LaneSession) -> dict[str, Any]:
    return lane.call("build_toys", {"configs": {**DENSE, **OTHERS, **TABLES, "renamed": RENAMED}})


@pytest.mark.parametrize("name", DENSE)
def test_dense_toys_build_and_every_tensor_is_random(seen: dict[str, Any], name: str) -> None:
    for toy in seen[name]:
        assert toy["left_at_its_default"] == []
        assert toy["finite"]
        assert toy["spread"] > 0.5
        assert toy["parameters"] < 2_000_000


@pytest.mark.parametrize("name", OTHERS)
def test_toys_with_experts_latent_or_linear_attention_build(seen: dict[str, Any], name: str) -> None:
    for toy in seen[name]:
        assert toy["left_at_its_default"] == []
        assert toy["finite"]


def test_saved_tables_that_follow_from_the_config_stay_and_nothing_else_does(seen: dict[str, Any]) -> None:
    tables = {"slope_rate", "query_decay", "key_decay", "diagonal_decay"}
    for toy in seen["minimax"]:
        assert {name.rpartition(".")[2] for name in toy["left_at_its_default"]} == tables
        assert toy["config"]["block_size"] in (9, 7)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("gemma2", ["full_attention", "sliding_attention"]),
        ("gemma3_text", ["full_attention", "sliding_attention"]),
        ("qwen3_next", ["full_attention", "linear_attention"]),
    ],
)
def test_layer_kinds_that_only_the_class_knows_all_occur(seen: dict[str, Any], name: str, kinds: list[str]) -> None:
    """The raw config may not list them: they are completed from the class before layers are cut."""
    assert all(toy["layer_types"] == kinds for toy in seen[name])


def test_a_model_type_that_transformers_does_not_know_builds_as_its_architecture(seen: dict[str, Any]) -> None:
    assert {toy["class"] for toy in seen["renamed"]} == {"Qwen3ForCausalLM"}
    assert all(toy["config"]["vocab_size"] < 200 for toy in seen["renamed"])
