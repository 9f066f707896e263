"""The generated script on checkpoints as they are: sharded, interrupted, damaged, hostile, larger than memory."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from scaffold_tools.verify.lane import LaneSession
from targets.quantised.test_arithmetic import render, stored_of

pytestmark = pytest.mark.lane


@pytest.fixture(scope="module")
def scenes(lane: LaneSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("script")
    stored = stored_of("transformers-fp8-blocks")
    small = tuple(dataclasses.replace(group, block=(16, 24)) for group in stored.groups)
    render(dataclasses.replace(stored, groups=small), folder)
    return lane.call("copy_script", {"folder": str(folder)})


def test_the_copy_is_a_checkpoint_of_its_own(scenes: dict[str, Any]) -> None:
    found = scenes["whole"]
    shards = [f"model-{number}.safetensors" for number in range(3)]
    assert found["files"] == sorted([*shards, "config.json", "model.safetensors.index.json", "tokenizer.json"])
    assert len(found["names"]) == 6
    assert not [name for name in found["names"] if "scale" in name]
    assert found["total"]
    assert found["config"] == {"torch_dtype": "bfloat16"}
    assert found["dtypes"] == ["torch.bfloat16"]


def test_an_interrupted_run_goes_on_where_it_was(scenes: dict[str, Any]) -> None:
    found = scenes["resumed"]
    assert "model-0.safetensors" in found["left"]
    assert "model-1.safetensors" not in found["left"]
    assert found["again"] == ["model-1.safetensors", "model-2.safetensors"]
    assert not [name for name in found["end"] if name.endswith(".partial")]


def test_a_shard_that_was_downloaded_again_is_written_again(scenes: dict[str, Any]) -> None:
    assert scenes["resumed"]["changed"] == ["model-2.safetensors"]


def test_scales_are_found_in_whatever_shard_they_are(scenes: dict[str, Any]) -> None:
    assert scenes["apart"] == {"equal": True, "files": ["a.safetensors"]}


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("scales lost", "float8"),
        ("scales of another shape", "do not fit"),
        ("scales are NaN", "not finite"),
        ("a value is NaN", "not finite"),
        ("a value is NaN with a sign", "not finite"),
        ("integers of nothing known", "int32"),
        ("a shard outside", "outside the checkpoint"),
        ("a shard that is missing", "missing"),
    ],
)
def test_what_is_damaged_is_refused_and_named(kind: str, said: str, scenes: dict[str, Any]) -> None:
    assert said in scenes["damaged"][kind]


def test_memory_is_that_of_few_tensors_whatever_the_size_of_the_shard(scenes: dict[str, Any]) -> None:
    assert scenes["memory"]["weights"] < scenes["memory"]["shard"] / 3


def test_results_that_take_the_memory_of_others_are_their_own(scenes: dict[str, Any]) -> None:
    assert scenes["reused"]["wrong"] == []
    assert scenes["reused"]["spare"] > 0


def test_memory_that_is_given_away_too_early_is_seen(scenes: dict[str, Any]) -> None:
    assert scenes["taken"]["wrong"]
