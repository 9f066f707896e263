"""What vLLM and SGLang register is read from their source, in the shapes that their releases have had."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from scaffold_tools.errors import BadInput
from scaffold_tools.targets.roll import engines_recorded
from scaffold_tools.targets.roll.engines_registries import read_sglang, read_vllm
from targets.roll.engine_trees import ONE_CHECK, PLAN_RAISES, sglang_tree, vllm_tree


def test_models_that_generate_are_registered_and_others_are_not(tmp_path):
    registry = read_vllm(vllm_tree(tmp_path))
    assert registry.architectures["WrenForCausalLM"] == "wren:WrenForCausalLM"
    assert registry.architectures["OldWrenForCausalLM"] == "vllm.models.wren:WrenForCausalLM"
    assert "HeronForConditionalGeneration" in registry.architectures
    assert "WrenModel" not in registry.architectures  # it embeds
    assert "TransformersForCausalLM" not in registry.architectures  # no architecture of a checkpoint
    assert registry.through_transformers == {"OwlForCausalLM"}
    assert registry.dropped == {"DodoForCausalLM": "0.9.2"}
    assert (registry.version, registry.commit) == ("0.99.0", "0123abc45")


def test_checks_joined_by_or_are_alternatives(tmp_path):
    together = read_vllm(vllm_tree(tmp_path / "new")).fallback
    alone = read_vllm(vllm_tree(tmp_path / "old", gate=ONE_CHECK)).fallback
    assert together is not None and alone is not None
    assert together.conditions == (("is_backend_compatible", "_can_set_attn_implementation"),)
    assert alone.conditions == (("is_backend_compatible",),)


def test_a_missing_plan_that_raises_is_told_from_one_that_warns(tmp_path):
    warns, raises = vllm_tree(tmp_path / "new"), vllm_tree(tmp_path / "old", runner=PLAN_RAISES)
    assert read_vllm(warns).fallback.split_needs_plan is False
    assert read_vllm(raises).fallback.split_needs_plan is True


def test_entry_classes_are_names_lists_and_renamed_imports(tmp_path):
    registry = read_sglang(sglang_tree(tmp_path))
    assert set(registry.architectures) == {"WrenForCausalLM", "OwlForCausalLM"}
    assert registry.fallback.conditions == (("is_backend_compatible",),)
    assert registry.fallback.architectures == ("TransformersForCausalLM",)
    assert registry.version == "0.8.1"


def test_an_engine_without_transformers_has_no_way_through_it(tmp_path):
    assert read_sglang(sglang_tree(tmp_path, fallback=False)).fallback is None


def test_a_checkout_of_git_says_its_commit(tmp_path):
    root = sglang_tree(tmp_path)
    (root / ".git" / "refs" / "heads").mkdir(parents=True)
    (root / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (root / ".git" / "packed-refs").write_text(f"# pack-refs\n{'a1' * 20} refs/heads/main\n")
    assert read_sglang(root).commit == "a1" * 20
    (root / ".git" / "refs" / "heads" / "main").write_text("b2" * 20 + "\n")
    assert read_sglang(root).commit == "b2" * 20


@pytest.mark.parametrize("read", [read_vllm, read_sglang])
def test_another_folder_is_bad_input(tmp_path, read):
    with pytest.raises(BadInput):
        read(tmp_path)


def test_a_registry_without_its_table_is_bad_input(tmp_path):
    root = vllm_tree(tmp_path)
    path = root / "vllm" / "model_executor" / "models" / "registry.py"
    path.write_text(path.read_text().replace("_TEXT_GENERATION_MODELS", "_OTHER"))
    with pytest.raises(BadInput, match="no table of text generation models"):
        read_vllm(root)


def test_what_is_recorded_comes_back_as_it_was_read(tmp_path):
    file = tmp_path / "recorded.json"
    read = read_vllm(vllm_tree(tmp_path / "vllm"))
    engines_recorded.write(file, [read], "2026-08-14")
    (row,) = engines_recorded.recorded(file)
    assert (row.architectures, row.fallback, row.dropped) == (dict(read.architectures), read.fallback, read.dropped)
    assert (row.origin, row.recorded, row.commit) == ("recorded", "2026-08-14", "0123abc45")
    assert "recorded on 2026-08-14" in row.label


def test_recording_a_version_again_replaces_it(tmp_path):
    file = tmp_path / "recorded.json"
    tree = vllm_tree(tmp_path / "vllm")
    engines_recorded.write(file, [read_vllm(tree)], "2026-08-14")
    registry = tree / "vllm" / "model_executor" / "models" / "registry.py"
    registry.write_text(registry.read_text().replace('"WrenForCausalLM": (', '"RenamedForCausalLM": ('))
    engines_recorded.write(file, [read_vllm(tree), read_sglang(sglang_tree(tmp_path / "sglang"))], "2026-08-15")
    rows = engines_recorded.recorded(file)
    assert [row.engine for row in rows] == ["sglang", "vllm"]
    assert "RenamedForCausalLM" in rows[1].architectures


def test_versions_are_ordered_by_their_numbers():
    ordered = sorted(["0.10.2", "0.8.4", "0.4.6", "0.4.6.post4", "0.33.0"], key=engines_recorded.version_key)
    assert ordered == ["0.4.6", "0.4.6.post4", "0.8.4", "0.10.2", "0.33.0"]


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_the_recorded_file_holds_a_whole_registry(engine):
    """Read from releases; a registry of a few names would be a reader that lost most of it."""
    newest = engines_recorded.newest(engine)
    assert newest is not None
    assert len(newest.architectures) > 200
    assert newest.architectures["LlamaForCausalLM"] == "llama:LlamaForCausalLM"
    assert newest.fallback is not None


def test_the_recorded_file_is_written_by_the_command_alone():
    rows = json.loads(engines_recorded.RECORDED.read_text())
    again = json.dumps(rows, indent=1, sort_keys=True) + "\n"
    assert engines_recorded.RECORDED.read_text() == again
    assert all(row["recorded"] and row["version"] for row in rows)


@pytest.mark.parametrize(
    ("variable", "read"), [("SCAFFOLD_VLLM_REPO", read_vllm), ("SCAFFOLD_SGLANG_REPO", read_sglang)]
)
def test_a_real_checkout_is_read_whole(variable, read):
    root = os.environ.get(variable)
    if not root:
        pytest.skip(f"{variable} names no checkout")
    registry = read(Path(root))
    assert len(registry.architectures) > 60
    assert "LlamaForCausalLM" in registry.architectures
