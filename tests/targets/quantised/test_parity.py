"""A toy in each quantised form, imported through what is generated for it; and through what is not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from classify.inventories import CONFIGS
from classify.layouts import LLAMA, inventory, quantised
from classify.test_quantised import FORMATS
from scaffold_tools.blueprint.facts import Blueprint, Stored, StoredGroup
from scaffold_tools.blueprint.stored import derive_stored
from scaffold_tools.classify.model import classify
from scaffold_tools.targets.megatron_bridge.plan import make_plan
from scaffold_tools.verify.lane import LaneSession
from scaffold_tools.verify.run import Integration
from scaffold_tools.verify.stored import stored_request
from targets.blocks.packages import lane_profile
from targets.blocks.pipeline import blueprint_of
from targets.blueprints import QWEN3_CONFIG, qwen3

pytestmark = pytest.mark.lane

Results = dict[str, dict[str, dict[str, Any]]]
"""Form -> check -> what was measured."""


def stored_as(name: str) -> Stored:
    """What the headers of a checkpoint in this format tell."""
    given = inventory({**LLAMA, "quantization_config": FORMATS[name].config}, quantised(FORMATS[name].parts))
    stored = derive_stored(given, classify(given), ())
    assert stored is not None
    return stored


def small_blocks(stored: Stored, block: tuple[int, int]) -> Stored:
    """The same with blocks that a toy has many of, the last ones not whole."""
    return dataclasses.replace(stored, groups=tuple(dataclasses.replace(one, block=block) for one in stored.groups))


ALIKE = frozenset(
    {"fp8 in blocks of another size", "int8 packed with a scale a row", "gptq in eight bits", "bitsandbytes fp4"}
)
"""Forms that differ from another one in numbers alone; their arithmetic is measured in test_arithmetic."""

FORMS: dict[str, Stored] = {name: stored_as(name) for name in FORMATS if name not in ALIKE} | {
    "fp8 in many uneven blocks": small_blocks(stored_as("fp8 in blocks"), (16, 24))
}


def generate(folder: Path, believed: Stored | None, blueprint: Blueprint | None = None) -> dict[str, Any]:
    """The integration of Qwen3 (or of `blueprint`) for a checkpoint that is believed to be stored so."""
    blueprint = blueprint or qwen3()
    plan = make_plan(dataclasses.replace(blueprint, stored=believed), root=folder, profile=lane_profile())
    for change in plan.changes:
        path = folder / change.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(change.content, encoding="utf-8")
    return {
        "integration": Integration("package", folder, plan.package).as_request(),
        "script": str(folder / plan.copy_script) if plan.copy_script else None,
    }


def on(form: Stored, generated: dict[str, Any]) -> dict[str, Any]:
    """A case: this integration, and a toy in that form."""
    return {**generated, "stored": stored_request(form, {"quantization_config": {"quant_method": "any"}})}


RAW = ("fp8 in blocks", "nvfp4 of modelopt", "int4 packed in groups", "gptq", "bitsandbytes nf4", "bitsandbytes int8")


def measure(
    lane: LaneSession, folder: Path, cases: dict[str, dict[str, Any]], config: dict[str, Any] = QWEN3_CONFIG
) -> Results:
    (architecture,) = config["architectures"]
    request = {"config": config, "architecture": architecture, "workdir": str(folder / "work"), "cases": cases}
    answer = lane.call("stored_parity", request)
    return {name: {check["name"]: check for check in checks} for name, checks in answer.items()}


@pytest.fixture(scope="module")
def right(lane: LaneSession, tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("right")
    cases = {name: on(form, generate(folder / str(i), form)) for i, (name, form) in enumerate(FORMS.items())}
    return measure(lane, folder, cases)


@pytest.fixture(scope="module")
def raw(lane: LaneSession, tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("raw")
    plain = generate(folder / "plain", None)
    return measure(lane, folder, {name: on(FORMS[name], plain) for name in RAW})


@pytest.mark.parametrize("form", FORMS)
def test_a_quantised_toy_imports_as_what_it_stands_for(form: str, right: Results) -> None:
    found = right[form]
    assert {name: check["status"] for name, check in found.items()} == dict.fromkeys(found, "passed"), found
    assert {"stored.consumed", "stored.weights", "stored.exact", "stored.logits", "stored.copy"} == found.keys()


@pytest.mark.parametrize("form", RAW)
def test_without_dequantisation_the_import_fails_loudly(form: str, raw: Results) -> None:
    assert {check["status"] for check in raw[form].values()} & {"failed", "error"}


def test_raw_fp8_shows_in_the_standard_deviation(raw: Results) -> None:
    check = raw["fp8 in blocks"]["stored.weights"]
    assert check["status"] == "failed"
    assert check["value"] > 100


EXPERTS = ("model.layers.*.mlp.experts.gate_up_proj", "model.layers.*.mlp.experts.down_proj")


def test_stacked_experts_import_in_every_form(lane: LaneSession, tmp_path: Path) -> None:
    config = json.loads((CONFIGS / "openai--gpt-oss-20b" / "config.json").read_text())
    blueprint = blueprint_of(lane, config)
    blocks = StoredGroup("mxfp4", 4, (1, 32), "blocks", "_blocks", "", (("scales", "_scales"),), EXPERTS, 48)
    scaled = StoredGroup("fp8-block", 8, (16, 24), "weight", "", "", (("scale_inv", "_scale_inv"),), EXPERTS, 48)
    forms = {"transformers' blocks": Stored((blocks,)), "fp8 in uneven blocks": Stored((scaled,))}
    cases = {
        name: on(form, generate(tmp_path / str(i), form, blueprint)) for i, (name, form) in enumerate(forms.items())
    }
    raw = on(forms["fp8 in uneven blocks"], generate(tmp_path / "raw", None, blueprint))
    found = measure(lane, tmp_path, {**cases, "raw": raw}, config)
    for name in forms:
        assert {check["status"] for check in found[name].values()} == {"passed"}, found[name]
    assert found["raw"]["stored.weights"]["status"] == "failed"
