"""Toys with the model's own scalars keep their small sizes."""

from __future__ import annotations

from typing import Any

from test_verify import CONFIGS
from toys.own_scalars import with_own_scalars
from toys.toy_config import shrink_config

ROPE = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e6, "original_max_position_embeddings": 32768}


def own(config: dict[str, Any]) -> dict[str, Any]:
    return with_own_scalars(shrink_config(config), config)


def test_scalars_are_the_models_and_sizes_the_toys() -> None:
    toy = own(CONFIGS["Gemma2ForCausalLM"])
    assert (toy["rms_norm_eps"], toy["query_pre_attn_scalar"], toy["attn_logit_softcapping"]) == (1e-6, 256, 50.0)
    assert toy["hidden_size"] < 100
    assert toy["sliding_window"] < 10


def test_numbers_of_rope_tables_are_the_models_and_shares_the_toys() -> None:
    config = CONFIGS["Qwen3ForCausalLM"] | {"rope_parameters": ROPE | {"partial_rotary_factor": 0.5}}
    toy = own(config)
    assert {key: toy["rope_parameters"][key] for key in ROPE} == ROPE
    assert (
        toy["rope_parameters"]["partial_rotary_factor"]
        == shrink_config(config)["rope_parameters"]["partial_rotary_factor"]
    )
    by_kind = CONFIGS["Qwen3ForCausalLM"] | {"rope_parameters": {"full_attention": ROPE, "sliding_attention": None}}
    assert own(by_kind)["rope_parameters"]["full_attention"]["factor"] == 4.0


def test_a_part_of_a_config_keeps_its_own_too() -> None:
    toy = own({"model_type": "x", "text_config": CONFIGS["Qwen3ForCausalLM"]})
    assert toy["text_config"]["rms_norm_eps"] == 1e-6
