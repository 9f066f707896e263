"""Attention that sees chosen keys alone, from the config to equal logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scaffold_tools.blueprint.facts import Const
from scaffold_tools.targets.megatron_bridge.selection_rules import period
from scaffold_tools.verify.lane import LaneSession
from targets.blocks.pipeline import blueprint_of, checks_of

CHOOSING: dict[str, Any] = {
    "architectures": ["GlmMoeDsaForCausalLM"],
    "model_type": "glm_moe_dsa",
    "vocab_size": 1024,
    "hidden_size": 256,
    "intermediate_size": 704,
    "moe_intermediate_size": 96,
    "n_routed_experts": 32,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "first_k_dense_replace": 1,
    "q_lora_rank": 128,
    "kv_lora_rank": 64,
    "qk_nope_head_dim": 48,
    "qk_rope_head_dim": 16,
    "v_head_dim": 64,
    "index_n_heads": 32,
    "index_head_dim": 64,
    "index_topk": 128,
}
KINDS = ["full", "full", "shared", "shared", "full", "shared", "shared", "full"]
SHARING = {**CHOOSING, "num_hidden_layers": 8, "indexer_types": KINDS}


@pytest.mark.lane
def test_the_formula_of_an_indexer_is_measured(lane: LaneSession) -> None:
    blueprint = blueprint_of(lane, CHOOSING)
    assert blueprint.gaps == ()
    sizes = [blueprint.value(f"indexer.{name}") for name in ("heads", "head_dim", "top_k")]
    assert sizes == [32, 64, 128]
    assert (blueprint.value("indexer.pairing"), blueprint.value("indexer.relu")) == ("half", True)
    assert (blueprint.value("rope.pairing"), blueprint.value("indexer.norm_eps")) == ("interleaved", 1e-6)
    assert blueprint.value("attention.window") == [None] * 4
    names = {row.role: row.pattern.rpartition("indexer.")[2] for row in blueprint.roles if "indexer." in row.role}
    assert names == {
        "indexer.q": "wq_b.weight",
        "indexer.k": "wk.weight",
        "indexer.weights": "weights_proj.weight",
        "indexer.k_norm": "k_norm.bias",
    }


@pytest.mark.lane
@pytest.mark.parametrize("config", [CHOOSING, SHARING], ids=["every layer chooses", "layers share a choice"])
def test_sparse_attention_gives_the_logits_of_hugging_face(
    lane: LaneSession, tmp_path: Path, config: dict[str, Any]
) -> None:
    found = checks_of(lane, config, tmp_path)
    assert not set(found) - {"passed", "skipped"}, found


WRONG: tuple[tuple[str, Any], ...] = (
    ("indexer.top_k", 6),
    ("indexer.pairing", "interleaved"),
    ("indexer.relu", False),
    ("indexer.norm_eps", 0.3),
)


@pytest.mark.lane
@pytest.mark.parametrize(("fact", "value"), WRONG, ids=[fact for fact, _ in WRONG])
def test_a_wrong_belief_about_the_choice_is_caught(lane: LaneSession, tmp_path: Path, fact: str, value: Any) -> None:
    found = checks_of(lane, CHOOSING, tmp_path, lambda model: model.with_fact(fact, value, Const(value)))
    assert "logits.max_abs" in found.get("failed", set())


@pytest.mark.lane
def test_layers_that_are_believed_to_choose_for_themselves_are_caught(lane: LaneSession, tmp_path: Path) -> None:
    wrong = [True] * 8
    found = checks_of(lane, SHARING, tmp_path, lambda model: model.with_fact("indexer.layers", wrong, Const(True)))
    assert "import.megatron_filled" in found.get("failed", set())


def test_only_periods_are_choices_of_layers_that_megatron_knows() -> None:
    assert period([kind == "full" for kind in KINDS]) == (2, 3)
    assert period([True, False, True, False]) == (1, 2)
    assert period([True, True, False, False]) == (2, 3)
    assert period([True, False, True, True]) is None
    assert period([False, True]) is None
    assert period([True, True]) is None
