"""The main job as a function, on a lane that is open already: what tests and the acceptance command share."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from scaffold import pipeline
from scaffold.lane import EarlyLane
from scaffold.outcome import Outcome
from scaffold.progress import Progress
from support.sparse_checkpoint import write_sparse_checkpoint


def config_folder(folder: Path, name: str, config: dict[str, Any]) -> Path:
    """A folder with a config.json and nothing else."""
    path = folder / name
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    return path


def checkpoint_folder(folder: Path, name: str, config: dict[str, Any], lane: EarlyLane) -> Path:
    """A checkpoint of the model's real size: headers of what transformers would save, the data a hole."""
    table = lane.call("tensor_table", {"config": config, "architecture": config["architectures"][0]})
    tensors = [(row["name"], row["dtype"], tuple(row["shape"])) for row in table["tensors"]]
    return write_sparse_checkpoint(folder / name, config, tensors)


def new_model(link: Path, place: Path, lane: EarlyLane) -> Outcome:
    """`scaffold new-model LINK --regenerate` with `place` as the current folder; the package goes to place/package."""
    place.mkdir(parents=True, exist_ok=True)
    settings = pipeline.Settings(link=str(link), regenerate=True, out=place / "package")
    with contextlib.chdir(place):
        return pipeline.new_model(settings, Progress(quiet=True), lane=lane)
