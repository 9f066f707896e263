"""The toy whose sizes coincide sees what shapes cannot tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mutants import MUTANTS, Mutant
from test_verify import CONFIGS, bad, packaged, prove
from toys.square import SQUARES, squared
from toys.toy_config import shrink_config

from scaffold_tools.verify.lane import LaneSession

TURNED = ("a_square_projection_turned_round", "a_square_mlp_matrix_turned_round")


@pytest.mark.lane
@pytest.mark.parametrize("mutant", [one for one in MUTANTS if one.name in TURNED], ids=lambda mutant: mutant.name)
def test_a_mapping_that_asks_the_shape_passes_both_toys_and_fails_the_square_one(
    lane: LaneSession, tmp_path: Path, mutant: Mutant
) -> None:
    evidence = prove(lane, "Qwen3ForCausalLM", tmp_path / "toys", packaged(tmp_path, mutant))
    assert bad(evidence) == {"square.logits"}
    assert not evidence.proven
    square = {check.name: check.status for check in evidence.checks if check.toy == "square"}
    assert square == {"square.round_trip": "passed", "square.logits": "failed"}


@pytest.mark.lane
def test_a_tensor_that_nothing_maps_is_seen_on_the_square_toy_too(lane: LaneSession, tmp_path: Path) -> None:
    mutant = Mutant("no_head_norms", "provider.qk_layernorm = False")
    evidence = prove(lane, "Qwen3ForCausalLM", tmp_path, packaged(tmp_path, mutant), variants=("square",))
    assert bad(evidence) == {"square.round_trip", "square.logits"}
    assert "import.hf_consumed" in next(one.detail for one in evidence.checks if one.name == "square.round_trip")


@pytest.mark.parametrize("architecture", ["Qwen3ForCausalLM", "Qwen2ForCausalLM"])
def test_query_output_and_feed_forward_matrices_are_square(architecture: str) -> None:
    toy = squared(_toy(CONFIGS[architecture]))
    head = toy.get("head_dim", toy["hidden_size"] // toy["num_attention_heads"])
    assert toy["hidden_size"] == toy["intermediate_size"] == toy["num_attention_heads"] * head


def test_the_parts_of_latent_attention_add_up() -> None:
    config = CONFIGS["Qwen3ForCausalLM"] | {"kv_lora_rank": 512, "q_lora_rank": 768, "v_head_dim": 128}
    toy = squared(_toy(config | {"qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "qk_head_dim": 192}))
    assert toy["num_attention_heads"] * toy["v_head_dim"] == toy["hidden_size"] == toy["q_lora_rank"]
    assert toy["qk_nope_head_dim"] + toy["qk_rope_head_dim"] == toy["qk_head_dim"] == toy["v_head_dim"]


def test_a_size_that_does_not_come_out_even_stays() -> None:
    toy = {"hidden_size": 64, "num_attention_heads": 5, "v_head_dim": 10}
    assert squared(toy) == toy


def test_every_row_has_a_key_and_a_reason() -> None:
    assert all(row.keys and row.why for row in SQUARES)
    keys = [key for row in SQUARES for key in row.keys]
    assert len(keys) == len(set(keys))


def _toy(config: dict[str, Any]) -> dict[str, Any]:
    from toys.square import HEAD_IS_QUOTIENT

    return shrink_config(config, "a", HEAD_IS_QUOTIENT[0])
