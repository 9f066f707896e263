"""Rendered integrations against Hugging Face on two toys, and the same with one wrong belief."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scaffold_tools.blueprint.facts import Const
from scaffold_tools.verify.lane import LaneSession
from targets.blocks.models import MODELS, rope_set
from targets.blocks.pipeline import verify

pytestmark = pytest.mark.lane


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_blocks_give_the_logits_of_hugging_face(lane: LaneSession, tmp_path: Path, name: str) -> None:
    found = verify(lane, MODELS[name](), tmp_path)
    # a rope that stretches keeps what it saw before, so that Hugging Face has no one answer to write on with
    kept = [row for row in found.pop("skipped", []) if not row.startswith("generation.greedy")]
    assert kept == []
    assert set(found) == {"passed"}, {status: rows for status, rows in found.items() if status != "passed"}
    assert sum(row.startswith("logits.max_abs") for row in found["passed"]) == 2


WRONG: tuple[tuple[str, str, Any], ...] = (
    ("gemma", "embedding.multiplier", 32.0),
    ("granite", "embedding.multiplier", 12.0),
    ("granite", "residual.multiplier", 0.22),
    ("granite", "logits.multiplier", 0.125),
    ("gemma2", "attention.softcap", 50.0),
    ("gemma2", "attention.softcap", None),
    ("gemma2", "logits.softcap", 30.0),
    ("gemma2", "attention.window", [None] * 6),
    ("gemma3_text", "rope.sets", [rope_set(list(range(6)), "linear", "rope_parameters.full_attention")]),
    ("gemma3_text", "qk_norm.zero_centered", False),
    ("llama3", "rope.sets", [rope_set(list(range(6)))]),
    ("llama_yarn", "rope.sets", [rope_set(list(range(6)), "llama3")]),
    ("llama_longrope", "rope.sets", [rope_set(list(range(6)), "llama3")]),
    ("olmo2", "qk_norm.eps", 1e-6),
    ("olmo", "attention.clip_qkv", 8.0),
    ("olmo", "norm.kind", "rmsnorm"),
    ("hunyuan", "qk_norm.after_rope", False),
    ("exaone4", "rope.sets", [rope_set(list(range(6)), "llama3")]),
    ("glm4", "rope.pairing", "half"),
    ("mpt", "position.kind", "none"),
    ("cohere", "logits.multiplier", 0.0625),
)


@pytest.mark.parametrize(
    ("name", "fact", "value"), WRONG, ids=[f"{name}-{fact}-{i}" for i, (name, fact, _) in enumerate(WRONG)]
)
def test_a_wrong_belief_changes_the_logits(
    lane: LaneSession, tmp_path: Path, name: str, fact: str, value: Any
) -> None:
    found = verify(lane, MODELS[name]().with_fact(fact, value, Const(value)), tmp_path)
    assert any(row.startswith("logits.max_abs") for row in found.get("failed", [])), found
