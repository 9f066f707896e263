"""Architectures that transformers has: the blueprint says what the code computes and how it follows from keys."""

from __future__ import annotations

from typing import Any

import pytest

from blueprint.models import CLAIMS, Claim
from scaffold_tools.blueprint.derive import derive_blueprint
from scaffold_tools.blueprint.expressions import shown
from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.blueprint.probing import probe_model
from scaffold_tools.source.inventory import Inventory, Source
from scaffold_tools.verify.lane import LaneSession

pytestmark = pytest.mark.lane


def inventory_of(config: dict[str, Any]) -> Inventory:
    return Inventory(Source("config.json", "config", "example"), config, None)


def blueprint_of(lane: LaneSession, config: dict[str, Any]) -> Blueprint:
    inventory = inventory_of(config)
    observations = probe_model(lane, inventory)
    assert "error" not in observations, observations["error"]
    return derive_blueprint(inventory, None, observations)


def fact_value(blueprint: Blueprint, name: str) -> Any:
    if name == "rope.layers":
        return [one["layers"] for one in blueprint.value("rope.sets")]
    return blueprint.value(name, "absent")


@pytest.mark.parametrize("claim", CLAIMS, ids=[one.name for one in CLAIMS])
def test_blueprint_says_what_the_code_computes(lane: LaneSession, claim: Claim) -> None:
    blueprint = blueprint_of(lane, claim.full_config())
    assert blueprint.gaps == ()
    for name, expected in claim.facts.items():
        found = fact_value(blueprint, name)
        assert found == pytest.approx(expected) if isinstance(expected, float) else found == expected, name
    for name, text in claim.expressions.items():
        fact = blueprint.fact(name)
        assert fact is not None and shown(fact.expression) == text, name
    for role, pattern in claim.roles.items():
        row = blueprint.role(role)
        assert row is not None and row.pattern == pattern
    for role, packing in claim.packing.items():
        row = blueprint.role(role)
        assert row is not None and row.packing == packing
    if claim.rope:
        sets = blueprint.value("rope.sets")
        assert [(one["type"], one["theta"], one["config_key"]) for one in sets] == claim.rope


def test_every_key_that_the_code_reads_is_accounted_for(lane: LaneSession) -> None:
    claim = next(one for one in CLAIMS if one.name == "gemma2")
    keys = {use.key: use for use in blueprint_of(lane, claim.full_config()).keys}
    assert keys["query_pre_attn_scalar"].consumed_by == "attention.scale"
    assert keys["layer_types"].consumed_by == "attention.window"
    assert keys["attention_dropout"].consumed_by == "waived: training: dropout"
    assert all(use.consumed_by for use in keys.values() if use.read_by_code)


def test_facts_that_no_key_gives_are_gaps_not_guesses(lane: LaneSession) -> None:
    """Negative control: values that are normalised, and a scalar on each layer's output, are nobody's key."""
    config = {"model_type": "gemma4_unified_text", "architectures": ["Gemma4UnifiedForCausalLM"]}
    blueprint = blueprint_of(lane, config)
    gaps = {one.subject: one for one in blueprint.gaps}
    for subject in ("norm.v", "model.layers.*.residual"):
        assert (gaps[subject].hf_source or "").startswith("modeling_gemma4_unified.py:")
    assert blueprint.fact("norm.v") is None
