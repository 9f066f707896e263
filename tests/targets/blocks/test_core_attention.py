"""The attention that Transformer Engine cannot express, against attention written out key by key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scaffold_tools.verify.lane import LaneSession
from targets.blocks.models import MODELS
from targets.blocks.packages import write_package

pytestmark = pytest.mark.lane

CAPPED = {"name": "gemma2", "prefix": "Gemma2", "stem": "gemma2", "cap": 1.7, "alibi": False}
ALIBI = {"name": "mpt", "prefix": "Mpt", "stem": "mpt", "cap": None, "alibi": True}


def attend(lane: LaneSession, folder: Path, model: dict[str, Any], **changes: Any) -> dict[str, Any]:
    request = {
        **model, "groups": 2, "queries": 9, "keys": 9, "left_padding": 0, "layer": 1, "window": None, "settings": {},
        "path": str(folder), "workdir": str(folder / "work"), **changes,
    }  # fmt: skip
    request["package"] = write_package(MODELS[model["name"]](), folder)
    if model["cap"]:
        request["settings"] = {"attn_logit_softcapping": model["cap"], **request["settings"]}
    return lane.call("core_attention", request)


@pytest.mark.parametrize("model", [CAPPED, ALIBI], ids=["capped", "alibi"])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_attention_without_a_mask_is_causal(
    lane: LaneSession, tmp_path: Path, model: dict[str, Any], groups: int
) -> None:
    assert attend(lane, tmp_path, model, groups=groups)["difference"] < 1e-5


def test_a_window_holds_on_the_layers_that_have_it_alone(lane: LaneSession, tmp_path: Path) -> None:
    settings = {"window_size": (3, 0), "window_attn_skip_freq": [1, 0]}
    assert attend(lane, tmp_path, CAPPED, settings=settings, layer=1, window=4)["difference"] < 1e-5
    assert attend(lane, tmp_path, CAPPED, settings=settings, layer=2)["difference"] < 1e-5
    assert attend(lane, tmp_path, CAPPED, settings=settings, layer=1, window=5)["difference"] > 1e-3


def test_queries_are_the_last_positions_of_the_keys(lane: LaneSession, tmp_path: Path) -> None:
    settings = {"window_size": (3, 0)}
    assert attend(lane, tmp_path, CAPPED, queries=2, settings=settings, window=4)["difference"] < 1e-5


@pytest.mark.parametrize("model", [CAPPED, ALIBI], ids=["capped", "alibi"])
def test_rows_that_see_nothing_stay_finite(lane: LaneSession, tmp_path: Path, model: dict[str, Any]) -> None:
    found = attend(lane, tmp_path, model, left_padding=3)
    assert found["undefined"] > 0
    assert found["finite"]
    assert found["difference"] < 1e-5


def test_another_cap_gives_another_result(lane: LaneSession, tmp_path: Path) -> None:
    assert attend(lane, tmp_path, CAPPED, settings={"attn_logit_softcapping": 1.8})["difference"] > 1e-3
