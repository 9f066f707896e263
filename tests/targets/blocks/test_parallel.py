"""Blocks on two ranks: the same logits and the same gradients as one Hugging Face model."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scaffold_tools.paths import harness_dir
from scaffold_tools.verify.lane import LaneSession
from scaffold_tools.verify.lane_env import find_lane
from targets.blocks.attention_configs import ATTENTIONS
from targets.blocks.expert_configs import EXPERTS
from targets.blocks.mixer_configs import MIXERS
from targets.blocks.models import MODELS, Model
from targets.blocks.packages import write_package
from targets.blocks.pipeline import blueprint_of
from targets.blocks.wiring_configs import WIRINGS

pytestmark = [pytest.mark.lane, pytest.mark.xdist_group("ranks")]  # one worker makes them all, and once

DERIVED = {**MIXERS, **WIRINGS, **EXPERTS, **ATTENTIONS}
"""Configs whose blueprints are derived, not written by hand."""
WORKER = Path(__file__).parent / "parallel_worker.py"
EVERY: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("gemma2", "pp", {}),
    ("granite", "pp", {}),
    ("gemma3_text", "tp_sp", {}),
    ("cohere", "tp_sp", {}),
    ("cohere_qk_norm", "tp_sp", {}),
    ("granite", "tp_sp", {}),
    ("llama_longrope", "tp_sp", {}),
    ("olmo2", "tp_sp", {"groups": 1}),  # every key head on both ranks
    ("phi", "tp_sp", {}),
    ("hunyuan", "tp", {}),
    ("mpt", "tp", {}),
    ("olmo2", "tp", {}),
    ("chunked", "tp_sp", {}),
    ("chunked", "pp", {}),
    ("head_gate", "tp_sp", {}),
    ("head_gate", "pp", {}),
    ("swish", "ep", {}),
    ("differential", "tp_sp", {}),
    ("differential", "pp", {}),
    ("selective", "tp_sp", {}),
    ("short_conv", "tp_sp", {}),
    ("lru", "tp_sp", {}),
    ("lightning", "tp_sp", {}),
    ("lightning", "pp", {}),
    ("delta", "tp_sp", {}),
    ("side_by_side", "tp_sp", {}),
    ("side_by_side", "pp", {}),
    ("experts_groups_shared", "ep", {}),
    ("experts_stacked_biases", "ep", {}),
    ("experts_not_renormalised", "ep", {}),
    ("sparse_mixer", "ep", {}),
    ("experts_groups_shared", "tp_sp", {}),
    ("experts_shared_gate", "tp_sp", {}),
    ("experts_groups_shared", "pp", {}),
    ("latent", "tp_sp", {}),
    ("latent_halves_biases", "tp_sp", {}),
    ("latent_halves_biases", "pp", {}),
    ("chosen_keys", "tp_sp", {}),
    ("chosen_keys", "ep", {}),
    ("norms_inside", "tp", {}),
    ("last_bias", "pp", {}),
    ("post_norm", "tp_sp", {}),
    ("head_transform", "tp_sp", {}),
    ("key_bias", "tp_sp", {}),
    ("norms_by_head", "tp", {}),
)
FEW = (
    *("gemma2-pp", "cohere-tp_sp", "olmo2-tp_sp-groups", "mpt-tp", "chunked-tp_sp", "differential-tp_sp"),
    *("selective-tp_sp", "lightning-tp_sp", "side_by_side-pp", "norms_inside-tp"),
    *("experts_groups_shared-ep", "experts_groups_shared-tp_sp", "latent_halves_biases-tp_sp", "chosen_keys-ep"),
)
"""One run of each kind; SCAFFOLD_ALL_RANKS=1 makes all of them."""
RUNS = tuple(
    run for run in EVERY if os.environ.get("SCAFFOLD_ALL_RANKS") == "1" or "-".join((*run[:2], *run[2])) in FEW
)
IDS = ["-".join((name, mode, *changes)) for name, mode, changes in RUNS]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, lane: LaneSession) -> list[list[dict[str, Any]]]:
    """What each rank found, for all runs: importing Megatron is paid once."""
    folder = tmp_path_factory.mktemp("ranks")
    requests = []
    for identifier, (name, mode, changes) in zip(IDS, RUNS, strict=True):
        place = folder / identifier
        model = MODELS[name]() if name in MODELS else Model(DERIVED[name], blueprint_of(lane, DERIVED[name]))
        place.mkdir()
        package = write_package(model, place)
        requests.append(
            {"mode": mode, "path": str(place), "package": package, "config": model.config, "folder": str(place)}
            | changes
        )
    (folder / "requests.json").write_text(json.dumps(requests))
    return run_two_ranks(folder)


def run_two_ranks(folder: Path) -> list[list[dict[str, Any]]]:
    lane, harness = find_lane(), harness_dir()
    assert lane is not None
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join((str(harness), str(harness / "standins"))),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TORCHDYNAMO_DISABLE": "1",
        "HOME": str(folder),
    }
    command = [str(lane.python), str(WORKER), str(folder)]
    ranks = [
        subprocess.Popen([*command, str(rank)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for rank in range(2)
    ]
    try:
        logs = [rank.communicate(timeout=1000)[0].decode(errors="replace") for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    paths = [folder / f"results-{rank}.json" for rank in range(2)]
    assert all(path.exists() for path in paths), "\n".join(log[-3000:] for log in logs)
    return [json.loads(path.read_text()) for path in paths]


@pytest.mark.parametrize("run", range(len(RUNS)), ids=IDS)
def test_two_ranks_give_the_logits_and_gradients_of_one(results: list[list[dict[str, Any]]], run: int) -> None:
    found = [rank[run] for rank in results]
    assert any(result["logits"] is not None for result in found)
    for result in found:
        assert result["logits"] is None or result["logits"] < 1e-4
        assert result["gradient"] < 1e-4, result["worst"]
        assert result["compared"] > 10
