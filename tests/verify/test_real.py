"""Real weights, where there are some: what is written is shown, and where nothing can be written the reason is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mutants import QWEN3, Mutant
from test_verify import INSTALLED, packaged

from scaffold.cli import run
from scaffold_tools.verify.lane import LaneSession
from scaffold_tools.verify.real import find_weights, verify_real
from scaffold_tools.verify.run import Integration
from support.safetensors_bytes import safetensors_bytes
from support.sparse_checkpoint import write_sparse_safetensors


@pytest.fixture
def model(lane: LaneSession, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    lane.call("tiny_model", {"folder": str(folder)})
    return folder


def written(lane: LaneSession, model: Path, integration: Integration = INSTALLED) -> tuple[str, str, str]:
    config = json.loads((model / "config.json").read_text())
    check = verify_real(lane, integration, model, config=config, architecture="Qwen3ForCausalLM")
    assert check is not None
    return check.status, str(check.value), check.detail


@pytest.mark.lane
def test_both_models_write_the_same_text_and_it_is_shown(lane: LaneSession, model: Path, tmp_path: Path) -> None:
    status, value, detail = written(lane, model)
    assert status == "passed", detail
    assert value.startswith("16/16 tokens: 'The capital of France is' -> '")
    wrong = packaged(tmp_path, Mutant("real_rope", "provider.rotary_base = 7.0"))  # the control
    status, value, detail = written(lane, model, wrong)
    assert status == "failed"
    assert "another one is better by" in detail


@pytest.mark.lane
def test_weights_in_the_folder_are_part_of_the_evidence_and_of_the_checklist(
    lane: LaneSession, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = run(["verify", "--bridge", f"{QWEN3.module}:{QWEN3.bridge}", "--hf", str(model), "--json"])
    outcome = json.loads(capsys.readouterr().out)
    bad = {f"{one['name']}: {one['detail']}" for one in outcome["evidence"]["checks"] if one["status"] == "failed"}
    assert (bad, code) == (set(), 0)
    found = {check["name"]: check for check in outcome["evidence"]["checks"]}
    assert "The capital of France is" in found["generation.real"]["value"]
    assert found["static.consumed"]["status"] == "passed"  # headers lie there: the full size is looked at unasked


def test_a_folder_without_weights_has_nothing_to_say(tmp_path: Path) -> None:
    assert find_weights(tmp_path) is None


def test_headers_over_a_hole_are_no_weights(tmp_path: Path) -> None:
    write_sparse_safetensors(tmp_path / "model.safetensors", [("a.weight", "BF16", (4096, 4096))])
    found = find_weights(tmp_path)
    assert found is not None
    assert "headers and no data" in found.missing


def test_a_file_that_is_not_there_and_a_missing_tokenizer_are_named(tmp_path: Path) -> None:
    (tmp_path / "model-1.safetensors").write_bytes(safetensors_bytes({"a": ("F32", (2, 2))}))
    found = find_weights(tmp_path)
    assert found is not None
    assert (found.numbers, found.missing) == (4, "no tokenizer lies beside them")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    found = find_weights(tmp_path)
    assert found is not None
    assert found.missing == "model-2.safetensors is not there"


def test_a_model_that_memory_is_too_small_for_is_skipped_with_what_it_takes(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(safetensors_bytes({"a": ("F32", (200, 200))}))
    (tmp_path / "tokenizer.json").write_text("{}")
    check = verify_real(None, INSTALLED, tmp_path, config={}, architecture="X", memory=1000)  # type: ignore[arg-type]
    assert check is not None
    assert check.status == "skipped"
    assert "memory" in check.detail
