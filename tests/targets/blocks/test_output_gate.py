"""Attention outputs that are multiplied by one number a head, the softplus of a projection."""

from __future__ import annotations

from pathlib import Path

import pytest

from scaffold_tools.blueprint.facts import Const
from scaffold_tools.verify.lane import LaneSession
from targets.blocks.attention_configs import GATED
from targets.blocks.models import Model
from targets.blocks.pipeline import blueprint_of, verify

pytestmark = pytest.mark.lane


@pytest.fixture(scope="module")
def gated(lane: LaneSession) -> Model:
    return Model(GATED, blueprint_of(lane, GATED))


def test_the_curve_of_a_gate_and_its_width_are_measured(gated: Model) -> None:
    value = gated.blueprint.value
    assert (value("attention.gate.curve"), value("attention.gate.by_head")) == ("softplus", True)
    assert value("attention.output_gate") is False  # no half of the query projection
    gate = gated.blueprint.role("attn.output_gate")
    assert gate is not None
    assert gate.pattern == "model.layers.*.self_attn.g_proj.weight"
    assert not gated.blueprint.gaps


def test_a_gate_by_head_gets_the_logits_of_hugging_face(lane: LaneSession, tmp_path: Path, gated: Model) -> None:
    found = verify(lane, gated, tmp_path)
    assert set(found) == {"passed"}, found


def test_another_curve_is_caught(lane: LaneSession, tmp_path: Path, gated: Model) -> None:
    found = verify(lane, gated.with_fact("attention.gate.curve", "sigmoid", Const("sigmoid")), tmp_path)
    assert any(row.startswith("logits.max_abs") for row in found.get("failed", [])), found


def test_heads_that_differ_between_layers_are_a_gap(lane: LaneSession) -> None:
    several = GATED | {"num_attention_heads_per_layer": [48, 64, 48, 64]}
    assert "num_attention_heads" in {gap.subject for gap in blueprint_of(lane, several).gaps}


def test_kinds_of_layers_that_rotate_other_shares_are_a_gap(lane: LaneSession) -> None:
    kinds = GATED | {"layer_types": ["full_attention", "sliding_attention"] * 2}
    (gap,) = [gap for gap in blueprint_of(lane, kinds).gaps if gap.subject == "rope.dim"]
    assert "one rotary table" in gap.reason


def test_router_logits_are_capped_where_the_config_says_so(lane: LaneSession, tmp_path: Path) -> None:
    config = GATED | {"moe_router_logit_softcapping": 30.0}
    capped = Model(config, blueprint_of(lane, config))
    assert not capped.blueprint.gaps
    assert capped.blueprint.value("moe.logit_softcap") == 30.0
    assert set(verify(lane, capped, tmp_path / "right")) == {"passed"}
    fixed = capped.with_fact("moe.logit_softcap", 30.0, Const(30.0))
    assert any(row.startswith("logits.max_abs") for row in verify(lane, fixed, tmp_path / "wrong")["failed"])
