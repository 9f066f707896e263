"""What is read of a ROLL checkout, on one in miniature and on a real one where `SCAFFOLD_ROLL_REPO` names it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scaffold_tools.errors import BadInput
from scaffold_tools.targets.roll.profile import RollProfile, read_profile
from tests.targets.roll.adapter_tree import ADAPTER, write_adapter


@pytest.fixture
def profile(tmp_path: Path) -> RollProfile:
    return read_profile(*write_adapter(tmp_path))


def test_a_package_for_each_model_is_told_from_templates_one_after_the_other(tmp_path, profile):
    assert profile.layout == "package per model"
    assert read_profile(*write_adapter(tmp_path / "older", older=True)).layout == "end of template.py"


def test_fields_come_through_every_base_class(profile):
    assert {
        "padded_vocab_size",
        "rope_parameters",
        "num_layers",
        "tensor_model_parallel_size",
    } <= profile.config_fields
    assert "kv_lora_rank" in profile.mla_fields
    assert "padded_vocab_size" in profile.mla_fields
    assert "kv_lora_rank" not in profile.config_fields
    assert profile.core == "0.99.0"


def test_operations_of_models_are_known_with_their_parameters(profile):
    found = {row.name: row for row in profile.operations}
    assert found["StackConverOp"].parameters == ("dim",)
    assert found["WrenConverOp"].parameters == ("hidden_size", "extra")
    assert found["WrenConverOp"].module == "mcore_adapter.models.wren"
    assert profile.has_operation("QKVConverOp")
    assert not profile.has_operation("WrenConverOp")


def test_presets_are_evaluated_with_what_they_merge(profile):
    preset = profile.preset("default_dist_config")
    assert preset is not None
    assert preset.names("pre_process_weights") == ("embedding.word_embeddings.weight",)
    assert preset.holds("duplicated_weights", ".mlp.linear_fc1.lora_A.weight")
    assert (".linear_fc1.weight", ".mlp.experts.weight1") in preset.grouped


def test_registrations_know_their_classes(profile):
    registration = profile.registration("wren")
    assert registration is not None
    assert registration.name == "mcore_adapter.models.wren:wren"
    assert (registration.template, registration.config, registration.model) == (
        "WrenTemplate",
        "McaModelConfig",
        "McaGPTModel",
    )
    assert profile.registration("heron") is None


def test_lists_of_models_whose_experts_are_gathered_are_found(profile):
    assert [types for _, types in profile.moe_allgather] == [("wren_vl_moe",), ("wren_vl_moe",)]


def test_what_the_model_hands_to_megatron_core_is_known(profile):
    assert dict(profile.model_arguments)["vocab_size"] == "config.padded_vocab_size"
    assert "seq_len_interpolation_factor" not in dict(profile.model_arguments)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("models/converter/template.py", "class Template: ...\n", "no register_template"),
        ("models/converter/dist_converter.py", "x = 1\n", "no default_dist_config"),
        ("models/model_factory.py", "class Other: ...\n", "no McaGPTModel"),
        ("models/model_config.py", "class Other: ...\n", "fields of McaModelConfig"),
        ("models/converter/template.py", "def (:\n", "cannot be parsed"),
    ],
)
def test_what_is_too_old_or_damaged_is_refused(tmp_path, name, text, said):
    checkout, packages = write_adapter(tmp_path)
    (checkout / ADAPTER / name).write_text(text)
    with pytest.raises(BadInput, match=said):
        read_profile(checkout, packages)


def test_what_is_no_roll_is_refused(tmp_path):
    checkout, packages = write_adapter(tmp_path)
    with pytest.raises(BadInput, match="is not a ROLL"):
        read_profile(packages, packages)
    with pytest.raises(BadInput, match="megatron-core's source was not found"):
        read_profile(checkout, None)


def test_nothing_of_a_checkout_is_run(tmp_path):
    checkout, packages = write_adapter(tmp_path)
    path = checkout / ADAPTER / "models" / "converter" / "template.py"
    path.write_text(path.read_text() + "\nraise RuntimeError('imported')\n")
    assert read_profile(checkout, packages).registration("wren") is not None


@pytest.mark.skipif("SCAFFOLD_ROLL_REPO" not in os.environ, reason="SCAFFOLD_ROLL_REPO names no checkout")
def test_a_real_checkout_is_read():
    from scaffold.machine import site_packages

    profile = read_profile(Path(os.environ["SCAFFOLD_ROLL_REPO"]), site_packages())
    assert profile.registration("llama") is not None
    assert {"RenameConverOp", "StackConverOp", "QKVConverOp"} <= {row.name for row in profile.operations}
    assert {"default_dist_config", "mla_dist_config"} <= {row.name for row in profile.presets}
    assert "convert_hf_to_mca_config_kws" in profile.hooks
    assert all(types for _, types in profile.moe_allgather)
