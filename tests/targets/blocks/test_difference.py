"""Differential attention: the output of one head is subtracted from that of another, both with the values of both."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from scaffold_tools.blueprint.facts import Const
from scaffold_tools.targets.megatron_bridge.blocks.choose import choose_blocks
from scaffold_tools.targets.megatron_bridge.mappings import map_roles
from scaffold_tools.verify.lane import LaneSession
from targets.blocks.attention_configs import DIFFERENTIAL
from targets.blocks.models import Model
from targets.blocks.pipeline import blueprint_of, verify

pytestmark = pytest.mark.lane


@pytest.fixture(scope="module")
def differential(lane: LaneSession) -> Model:
    return Model(DIFFERENTIAL, blueprint_of(lane, DIFFERENTIAL))


def test_the_constants_of_the_difference_are_measured(differential: Model) -> None:
    value = differential.blueprint.value
    assert value("attention.difference") is True
    assert [value(f"attention.difference.{name}") for name in ("base", "drop", "rate")] == [0.8, 0.6, 0.3]
    assert value("attention.output_gate") is False
    assert not differential.blueprint.gaps


@pytest.mark.parametrize("name", ["q1", "k1", "q2", "k2"])
def test_each_vector_is_told_from_the_others(differential: Model, name: str) -> None:
    found = differential.blueprint.role(f"attn.difference.{name}", "other")
    assert found is not None
    assert found.pattern.startswith("model.layers.*.self_attn.lambda_")
    # Two that are multiplied with each other mean the same, so only the sides of the difference can be told.
    assert found.pattern.endswith(name[1])


def test_subtracted_heads_get_the_logits_of_hugging_face(
    lane: LaneSession, tmp_path: Path, differential: Model
) -> None:
    found = verify(lane, differential, tmp_path)
    assert set(found) == {"passed"}, found


WRONG: tuple[tuple[str, float], ...] = (
    ("attention.difference.base", 0.79),
    ("attention.difference.drop", 0.61),
    ("attention.difference.rate", 0.31),
    ("attention.difference.eps", 1e-6),
)


@pytest.mark.parametrize(("fact", "value"), WRONG, ids=[row[0] for row in WRONG])
def test_another_constant_is_caught(
    lane: LaneSession, tmp_path: Path, differential: Model, fact: str, value: float
) -> None:
    found = verify(lane, differential.with_fact(fact, value, Const(value)), tmp_path)
    assert any(row.startswith("logits.max_abs") for row in found.get("failed", [])), found


def test_heads_in_the_order_of_hugging_face_are_caught(
    lane: LaneSession, tmp_path: Path, differential: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scaffold_tools.targets.megatron_bridge.mappings.is_differential", lambda blueprint: False)
    found = verify(lane, differential, tmp_path)
    assert any(row.startswith("round_trip.exact") for row in found["passed"])  # which cannot see it
    assert any(row.startswith("logits.max_abs") for row in found["failed"]), found


def test_subtracted_heads_may_share_key_heads(lane: LaneSession, tmp_path: Path) -> None:
    config = DIFFERENTIAL | {"num_key_value_heads": 8}
    shared = Model(config, blueprint_of(lane, config))
    assert (shared.blueprint.value("num_attention_heads"), shared.blueprint.value("num_query_groups")) == (32, 8)
    assert set(verify(lane, shared, tmp_path)) == {"passed"}


def test_pairs_of_heads_go_through_a_mapping_of_their_own(differential: Model) -> None:
    names = {row.name for row in map_roles(differential.blueprint).fused if "linear_qkv" in row.megatron}
    assert names == {"PairedQKVMapping"}


def test_heads_that_share_one_key_head_are_a_gap(differential: Model) -> None:
    odd = differential.with_fact("num_query_groups", 1, Const(1))
    assert "attention.difference" in {gap.subject for gap in choose_blocks(odd.blueprint).gaps}


def test_a_score_cap_beside_the_difference_is_a_gap(differential: Model) -> None:
    capped = differential.with_fact("attention.softcap", 30.0, Const(30.0))
    assert "attention.difference" in {gap.subject for gap in choose_blocks(capped.blueprint).gaps}


def rule(base: float, drop: float, rate: float, layers: int) -> list[float]:
    return [base - drop * math.exp(-rate * layer) for layer in range(layers)]


RULES: tuple[tuple[list[float], Any], ...] = (
    (rule(0.8, 0.6, 0.3, 3), [0.8, 0.6, 0.3]),
    (rule(0.75, 0.5, 0.125, 4), [0.75, 0.5, 0.125]),
    ([0.35] * 3, [0.35, 0.0, 0.0]),
    ([0.2, 0.3, 0.4], None),  # a straight line
    ([0.2, 0.36, 0.43], None),  # on some curve, but not of round constants
    ([*rule(0.8, 0.6, 0.3, 3), 0.5], None),  # the fourth layer is another
    ([0.2, 0.36], None),  # too few layers
)


@pytest.mark.parametrize(("starts", "expected"), RULES)
def test_constants_by_layer_need_a_rule_that_holds_in_all(
    lane: LaneSession, starts: list[float], expected: Any
) -> None:
    assert lane.call("differences", {"starts": starts})["found"] == expected
