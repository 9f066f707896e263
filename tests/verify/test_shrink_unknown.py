"""Keys of unknown names: what each integer does is seen in what it builds, and toys tell them apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scaffold_tools.blueprint.expressions import Toys
from scaffold_tools.blueprint.facts import Product, Term
from scaffold_tools.blueprint.measured import _rival
from scaffold_tools.verify.lane import LaneSession
from support.lane_fixture import lane

__all__ = ["lane"]
UNSEEN = Path(__file__).parent.parent / "targets" / "unseen"


def toys(lane: LaneSession, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    folder = UNSEEN / name
    config = json.loads((folder / "config.json").read_text())
    request = {"config": config, "architecture": config["architectures"][0]}
    answer = lane.call("probe", {**request, "trust_remote_code": True, "model_folder": str(folder)})
    return answer["variants"]["a"]["toy"], answer["variants"]["b"]["toy"]


@pytest.mark.lane
def test_first_layers_experts_and_choices_are_not_sizes(lane: LaneSession) -> None:
    a, b = toys(lane, "fjord")
    assert (a["tette_lag"], b["tette_lag"]) == (1, 2)
    assert a["dybde"] >= 7  # a period of three shows twice
    assert a["valgte"] < a["fagfolk"] and b["valgte"] < b["fagfolk"]
    pairs = [(a[key], b[key]) for key in ("dybde", "hoder", "svarere", "fagfolk", "valgte", "tette_lag", "bredde")]
    assert len(set(pairs)) == len(pairs)
    assert (a["bredde"] // a["hoder"]) % 2 == 0 == (b["bredde"] // b["hoder"]) % 2


@pytest.mark.lane
def test_numbers_in_nested_dicts_are_shrunk_and_canaries(lane: LaneSession) -> None:
    a, b = toys(lane, "anka")
    real = json.loads((UNSEEN / "anka" / "config.json").read_text())
    assert a["boyut"]["genislik"] != b["boyut"]["genislik"] < real["boyut"]["genislik"]
    assert a["bakis"]["taban"] != b["bakis"]["taban"] != real["bakis"]["taban"]


def test_keys_that_toys_cannot_tell_apart_are_not_guessed() -> None:
    keys = ("seven", "also")
    twins = Toys({"seven": 3, "also": 3}, {"seven": 4, "also": 4}, keys, frozenset(keys))
    formula = Product((Term("seven"),))
    assert _rival(formula, twins, {"seven": 6, "also": 2}) == "seven and also"
    assert _rival(formula, twins, {"seven": 6, "also": 6}) is None
    apart = Toys({"seven": 3, "also": 5}, {"seven": 4, "also": 3}, keys, frozenset(keys))
    assert _rival(formula, apart, {"seven": 6, "also": 2}) is None
