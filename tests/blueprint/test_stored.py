"""A quantised checkpoint is a gap: the toys, which are not quantised, could never show the harm."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from scaffold_tools.blueprint.derive import derive_blueprint
from scaffold_tools.blueprint.stored import quantised_gap
from scaffold_tools.classify.model import classify
from scaffold_tools.source.read import read_inventory

CONFIGS = Path(__file__).parent.parent / "data" / "configs"


@pytest.mark.parametrize(
    ("folder", "format_name"),
    [
        ("Qwen--Qwen3-30B-A3B-FP8", "fp8"),
        ("deepseek-ai--DeepSeek-V3", "fp8"),
        ("nvidia--Qwen3-235B-A22B-NVFP4", "nvfp4"),
        ("openai--gpt-oss-20b", "mxfp4"),
    ],
)
def test_a_quantised_checkpoint_is_a_gap_that_names_its_format(folder: str, format_name: str) -> None:
    inventory = read_inventory(str(CONFIGS / folder))
    gaps = derive_blueprint(inventory, classify(inventory)).gaps
    found = [gap for gap in gaps if gap.subject == "quantization_config" and gap.write_what]
    assert len(found) == 1
    assert format_name in found[0].reason


def test_an_unquantised_checkpoint_is_none_until_its_config_declares_a_format() -> None:
    inventory = read_inventory(str(CONFIGS / "Qwen--Qwen3-8B"))
    quantised = {**inventory.config, "quantization_config": {"quant_method": "fp8"}}
    assert quantised_gap(classify(inventory)) is None
    assert quantised_gap(classify(dataclasses.replace(inventory, config=quantised))) is not None
