"""Rotary tables of scaled rope at lengths below and above every length that the formulas know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scaffold_tools.verify.lane import LaneSession
from targets.blocks.models import MODELS
from targets.blocks.packages import write_package

pytestmark = pytest.mark.lane

LENGTHS = [17, 1024, 1025, 4096, 4500, 6000]
LLAMA = {"prefix": "Llama", "stem": "llama", "hf_class": "LlamaRotaryEmbedding"}
HUNYUAN = {"prefix": "HunYuanDenseV1", "stem": "hunyuan_v1_dense", "hf_class": "HunYuanDenseV1RotaryEmbedding"}
ROWS = [
    ("llama3", LLAMA),
    ("llama_yarn", LLAMA),
    ("llama_dynamic", LLAMA),
    ("llama_longrope", LLAMA),
    ("hunyuan_alpha", HUNYUAN),
]


def tables(
    lane: LaneSession, folder: Path, name: str, model: dict[str, Any], believed_length: int | None = None
) -> dict[str, float]:
    package = write_package(MODELS[name](), folder)
    return lane.call(
        "rotary_table",
        {
            **model,
            "path": str(folder),
            "package": package,
            "workdir": str(folder / "work"),
            "config": MODELS[name]().config,
            "lengths": LENGTHS,
            "believed_length": believed_length,
        },
    )


@pytest.mark.parametrize(("name", "model"), ROWS, ids=[name for name, _ in ROWS])
def test_tables_are_those_of_hugging_face(lane: LaneSession, tmp_path: Path, name: str, model: dict[str, Any]) -> None:
    found = tables(lane, tmp_path, name, model)
    assert max(found.values()) < 2e-3, found  # fp32 angles of positions in the thousands
    assert found["17"] < 1e-5


def test_a_wrong_longest_position_shows_beyond_it_alone(lane: LaneSession, tmp_path: Path) -> None:
    found = tables(lane, tmp_path, "llama_dynamic", LLAMA, believed_length=8192)
    assert found["17"] < 1e-5
    assert found["6000"] > 1e-2
