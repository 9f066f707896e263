"""Multi-head latent attention, from the config to equal logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scaffold_tools.blueprint.facts import Const
from scaffold_tools.targets.megatron_bridge.blocks import choose_blocks
from scaffold_tools.verify.lane import LaneSession
from targets.blocks.models import Model
from targets.blocks.pipeline import blueprint_of, checks_of, verify

pytestmark = pytest.mark.lane

YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 40.0,
    "original_max_position_embeddings": 4096,
    "beta_fast": 32,
    "beta_slow": 1,
    "mscale": 1.0,
    "mscale_all_dim": 0.707,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 50000.0,
    "factor": 32.0,
    "low_freq_factor": 1.5,
    "high_freq_factor": 5.0,
    "original_max_position_embeddings": 4096,
}
LATENT: dict[str, Any] = {
    "architectures": ["YoutuForCausalLM"],
    "model_type": "youtu",
    "vocab_size": 128256,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "hidden_act": "silu",
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1600000.0},
    "rope_interleave": True,
    "attention_bias": False,
    "tie_word_embeddings": False,
}
VARIANTS = {
    "plain": LATENT,
    "one query projection": {**LATENT, "q_lora_rank": None},
    "yarn": {**LATENT, "rope_parameters": YARN},
    "scaled table": {**LATENT, "rope_parameters": LLAMA3},
    "scaled table with a factor": {
        **LATENT,
        "rope_parameters": {**YARN, "attention_factor": 1.3, "truncate": False, "mscale_all_dim": 0.0},
    },
    "halves rotate": {**LATENT, "rope_interleave": False, "attention_bias": True},
    "halves rotate, one query projection": {**LATENT, "rope_interleave": False, "q_lora_rank": None},
    "biases": {**LATENT, "attention_bias": True},
    "biases, one query projection": {**LATENT, "attention_bias": True, "q_lora_rank": None},
}


def test_the_sizes_of_a_latent_attention_are_measured(lane: LaneSession) -> None:
    blueprint = blueprint_of(lane, LATENT)
    assert blueprint.gaps == ()
    names = ("q_rank", "kv_rank", "nope_dim", "rope_dim", "value_dim")
    assert [blueprint.value(f"mla.{name}") for name in names] == [1536, 512, 128, 64, 128]
    assert blueprint.value("head_dim") == 192
    assert blueprint.value("rope.pairing") == "interleaved"


def test_the_norms_on_the_latents_have_an_epsilon_that_no_key_gives(lane: LaneSession) -> None:
    fact = blueprint_of(lane, LATENT).fact("mla.norm.eps")
    assert fact is not None
    assert fact.expression == Const(1e-6)


def test_the_score_scale_of_yarn_is_told_from_a_plain_one(lane: LaneSession) -> None:
    assert blueprint_of(lane, VARIANTS["plain"]).value("mla.score_mscale") is False
    yarn = blueprint_of(lane, VARIANTS["yarn"])
    assert yarn.value("mla.score_mscale") is True
    assert yarn.value("attention.scale") == pytest.approx(192**-0.5 * 1.2608**2, rel=1e-3)


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_latent_attention_gives_the_logits_of_hugging_face(lane: LaneSession, tmp_path: Path, name: str) -> None:
    found = checks_of(lane, VARIANTS[name], tmp_path)
    assert not set(found) - {"passed", "skipped"}, found


def test_a_bridge_made_from_a_size_without_yarn_is_right_for_one_with_it(lane: LaneSession, tmp_path: Path) -> None:
    """DeepSeek-V3 and Moonlight are of one type, and one bridge is registered for it."""
    found = verify(lane, Model(VARIANTS["yarn"], blueprint_of(lane, LATENT)), tmp_path)
    assert not set(found) - {"passed", "skipped"}, found


WRONG: tuple[tuple[str, str, Any], ...] = (
    ("plain", "mla.norm.eps", 0.01),
    ("plain", "mla.q_rank", None),
    ("plain", "rope.pairing", "half"),
    ("halves rotate", "mla.down_bias", False),
)


@pytest.mark.parametrize(("name", "fact", "value"), WRONG, ids=[f"{name}-{fact}" for name, fact, _ in WRONG])
def test_a_wrong_belief_about_the_latent_is_caught(
    lane: LaneSession, tmp_path: Path, name: str, fact: str, value: Any
) -> None:
    found = checks_of(lane, VARIANTS[name], tmp_path, lambda model: model.with_fact(fact, value, Const(value)))
    assert set(found) - {"passed", "skipped"}


def test_rows_that_rotate_by_halves_become_pairs_and_come_back(lane: LaneSession, tmp_path: Path) -> None:
    """The wrong pairing is invisible to a round trip: only logits tell it."""
    wrong = checks_of(
        lane, VARIANTS["halves rotate"], tmp_path, lambda one: one.with_fact("rope.pairing", "interleaved", None)
    )
    assert "round_trip.exact" in wrong["passed"] and "logits.max_abs" in wrong["failed"]


def test_a_scaled_table_that_is_believed_plain_is_caught(lane: LaneSession, tmp_path: Path) -> None:
    def plain(model: Model) -> Model:
        (table,) = model.blueprint.value("rope.sets")
        return model.with_fact("rope.sets", [{**table, "type": "default", "parameters": {}}], None)

    found = checks_of(lane, VARIANTS["scaled table"], tmp_path, plain)
    assert "logits.max_abs" in found.get("failed", set())


def test_a_latent_attention_without_rotation_is_a_gap(lane: LaneSession) -> None:
    model = Model(LATENT, blueprint_of(lane, LATENT)).with_fact("rope.sets", [], Const([]))
    assert "rope.sets" in {gap.subject for gap in choose_blocks(model.blueprint).gaps}
