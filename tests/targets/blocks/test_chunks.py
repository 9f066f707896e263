"""Layers that attend in chunks, with norms after the rotation, beside layers without positions whose queries grow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scaffold_tools.blueprint.facts import Const, PerLayer
from scaffold_tools.verify.lane import LaneSession
from targets.blocks.attention_configs import CHUNKED
from targets.blocks.models import Model
from targets.blocks.pipeline import blueprint_of, verify

pytestmark = pytest.mark.lane


@pytest.fixture(scope="module")
def chunked(lane: LaneSession) -> Model:
    return Model(CHUNKED, blueprint_of(lane, CHUNKED))


def test_chunks_are_told_from_windows_and_each_fact_from_the_layers_without_it(chunked: Model) -> None:
    value = chunked.blueprint.value
    assert value("attention.chunk") == [2048, 2048, 2048, None] * 2
    assert value("attention.window") == [None] * 8
    assert value("qk_norm.layers") == [True, True, True, False] * 2
    assert value("attention.temperature.layers") == [False, False, False, True] * 2
    assert (value("attention.temperature.length"), value("attention.temperature.offset")) == (8192, 1)
    assert not chunked.blueprint.gaps


def test_each_chunk_gets_the_logits_of_hugging_face(lane: LaneSession, tmp_path: Path, chunked: Model) -> None:
    found = verify(lane, chunked, tmp_path)
    assert set(found) == {"passed"}, found


def by_kind(chunked_layers: Any, full: Any) -> PerLayer:
    cases = (("chunked_attention", Const(chunked_layers)), ("full_attention", Const(full)))
    return PerLayer("layer_types", cases)


WRONG: tuple[tuple[str, Any, Any], ...] = (
    ("attention.chunk", [7] * 3 + [None], by_kind(7, None)),
    ("attention.temperature.offset", 0, Const(0)),
    ("attention.temperature.layers", [True] * 8, by_kind(True, True)),
    ("qk_norm.layers", [True] * 8, by_kind(True, True)),
)


@pytest.mark.parametrize(("fact", "value", "expression"), WRONG, ids=[row[0] for row in WRONG])
def test_a_wrong_belief_about_the_layers_is_caught(
    lane: LaneSession, tmp_path: Path, chunked: Model, fact: str, value: Any, expression: Any
) -> None:
    found = verify(lane, chunked.with_fact(fact, value, expression), tmp_path)
    assert any(row.startswith("logits.max_abs") for row in found.get("failed", [])), found


def test_a_temperature_that_is_switched_off_leaves_nothing_open(lane: LaneSession) -> None:
    off = blueprint_of(lane, CHUNKED | {"attn_temperature_tuning": False})
    assert off.fact("attention.temperature.beta") is None
    assert not off.gaps
