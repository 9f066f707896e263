"""Seventeen published configs, each classified by its keys alone."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from classify.inventories import CONFIGS, published
from scaffold_tools.classify.model import classify, require_supported


class Published(NamedTuple):
    """What is true of a published model."""

    folder: str
    modality: str
    structure: tuple[str, ...]
    quantised: tuple[str, int, tuple[int, int]] | None = None
    """Format, bits, block."""
    tied: bool | None = False
    custom_code: bool = False
    period: int | None = None
    """Layers after which `layer_types` repeats."""


FP8 = ("fp8-block", 8, (128, 128))
MODELS = (
    Published("MiniMaxAI--MiniMax-M2.5", "llm", ("moe", "mtp"), FP8, custom_code=True),
    Published("Qwen--Qwen3-0.6B", "llm", ("dense",), tied=True),
    Published("Qwen--Qwen3-30B-A3B", "llm", ("moe",)),
    Published("Qwen--Qwen3-30B-A3B-FP8", "llm", ("moe",), FP8),
    Published("Qwen--Qwen3-8B", "llm", ("dense",)),
    Published("Qwen--Qwen3-VL-4B-Instruct", "vlm", ("dense",), tied=True),
    Published("Qwen--Qwen3.5-27B", "vlm", ("dense", "mtp", "hybrid-linear-attention"), period=4),
    Published("deepseek-ai--DeepSeek-V3", "llm", ("moe", "mla", "mtp"), FP8, custom_code=True),
    Published("google--gemma-4-26B-A4B", "vlm", ("moe",), tied=True, period=6),
    Published("meta-llama--Llama-4-Scout-17B-16E-Instruct", "vlm", ("moe",), tied=None),
    Published("meta-llama--Meta-Llama-3.1-8B", "llm", ("dense",)),
    Published("mistralai--Mixtral-8x7B-v0.1", "llm", ("moe",)),
    Published("moonshotai--Kimi-K2-Instruct", "llm", ("moe", "mla"), FP8, custom_code=True),
    Published("nvidia--Nemotron-H-56B-Base-8K", "llm", ("dense", "hybrid-ssm"), custom_code=True),
    Published("nvidia--Qwen3-235B-A22B-NVFP4", "llm", ("moe",), ("nvfp4", 4, (1, 16))),
    Published("openai--gpt-oss-20b", "llm", ("moe",), ("mxfp4", 4, (1, 32)), period=2),
    Published("zai-org--GLM-5", "llm", ("moe", "mla", "sparse-attention", "mtp")),
)
each_model = pytest.mark.parametrize("model", MODELS, ids=[model.folder for model in MODELS])


def test_every_published_config_has_its_row() -> None:
    assert {path.name for path in CONFIGS.iterdir()} == {model.folder for model in MODELS}


@each_model
def test_kind_and_structure(model: Published) -> None:
    found = classify(published(model.folder))
    assert (found.modality, found.structure) == (model.modality, model.structure)
    assert (found.tied, found.custom_code) == (model.tied, model.custom_code)
    require_supported(found)


@each_model
def test_quantisation(model: Published) -> None:
    found = classify(published(model.folder)).quantisation
    assert model.quantised == (None if found is None else (found.format, found.bits, found.block_shape))


@each_model
def test_every_claim_has_evidence_that_names_a_key(model: Published) -> None:
    inventory = published(model.folder)
    found = classify(inventory)
    for claim in found.claims:
        # A model without an auto_map, or a flag that is absent, is told by an absence.
        if claim.value in (False, None, "dense"):
            continue
        assert claim.evidence, claim
        assert any(str(key) in item.detail for item in claim.evidence for key in _keys(inventory.config)), claim


@each_model
def test_every_key_is_recognised(model: Published) -> None:
    found = classify(published(model.folder))
    assert not found.unrecognised
    assert len(found.keys) > 15


@each_model
def test_nothing_disagrees_in_a_config_alone(model: Published) -> None:
    assert not classify(published(model.folder)).disagreements


@each_model
def test_the_name_of_the_model_decides_nothing(model: Published) -> None:
    inventory = published(model.folder)
    before = classify(inventory)
    for mapping in (inventory.config, *(v for v in inventory.config.values() if isinstance(v, dict))):
        if "model_type" in mapping:
            mapping["model_type"] = "nobody_knows"
    (name,) = inventory.config["architectures"]
    inventory.config["architectures"] = [f"NobodyKnows{name[name.index('For') :]}"]
    after = classify(inventory)
    assert (after.modality, after.structure, after.tied) == (before.modality, before.structure, before.tied)
    assert (after.quantisation, after.disagreements) == (before.quantisation, before.disagreements)


@pytest.mark.parametrize("model", [model for model in MODELS if model.period], ids=lambda model: model.folder)
def test_the_period_of_layer_types_is_told(model: Published) -> None:
    patterns = {pattern.key.split(".")[-1]: pattern for pattern in classify(published(model.folder)).layer_patterns}
    assert patterns["layer_types"].period == model.period


def test_letters_of_a_hybrid_are_counted_and_have_no_period() -> None:
    (pattern,) = classify(published("nvidia--Nemotron-H-56B-Base-8K")).layer_patterns
    assert (pattern.summary, pattern.period) == ("54 x M, 54 x -, 10 x *", None)


def test_an_image_token_without_vision_settings_is_no_vlm() -> None:
    inventory = published("Qwen--Qwen3-8B")
    inventory.config["image_token_id"] = 5
    found = classify(inventory)
    assert found.modality == "llm"
    assert any("image_token_id" in note for note in found.notes)


# Evidence taken away: (folder, keys of the text model to remove, tag that has to go).
REMOVED = (
    ("Qwen--Qwen3-30B-A3B", ("num_experts",), "moe"),
    ("deepseek-ai--DeepSeek-V3", ("kv_lora_rank",), "mla"),
    ("deepseek-ai--DeepSeek-V3", ("num_nextn_predict_layers",), "mtp"),
    ("zai-org--GLM-5", ("index_topk",), "sparse-attention"),
    ("nvidia--Nemotron-H-56B-Base-8K", ("ssm_state_size", "hybrid_override_pattern"), "hybrid-ssm"),
    ("Qwen--Qwen3.5-27B", ("linear_num_key_heads", "layer_types"), "hybrid-linear-attention"),
)


@pytest.mark.parametrize(("folder", "keys", "tag"), REMOVED)
def test_without_its_keys_a_tag_is_gone(folder: str, keys: tuple[str, ...], tag: str) -> None:
    inventory = published(folder)
    assert tag in classify(inventory).structure
    text = inventory.config.get("text_config", inventory.config)
    for key in keys:
        del text[key]
    assert tag not in classify(inventory).structure


def test_a_text_model_in_a_wrapper_without_tower_settings_says_that_the_sign_is_weak() -> None:
    (evidence,) = classify(published("meta-llama--Llama-4-Scout-17B-16E-Instruct")).evidence("vision")
    assert "weak" in evidence.detail


def test_without_vision_settings_a_vlm_is_an_llm() -> None:
    inventory = published("Qwen--Qwen3-VL-4B-Instruct")
    del inventory.config["vision_config"]
    inventory.config["architectures"] = ["Qwen3VLForCausalLM"]
    assert classify(inventory).modality == "llm"


def _keys(config: dict[str, object]) -> set[str]:
    nested = {key for value in config.values() if isinstance(value, dict) for key in value}
    return set(config) | nested
