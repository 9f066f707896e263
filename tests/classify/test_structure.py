"""Structure and modality: tensors win over keys, what disagrees is said, and no claim outlives its evidence."""

from __future__ import annotations

from typing import Any

import pytest

from classify.layouts import LLAMA, Layout, dense_layout, inventory, published, with_experts
from scaffold_tools.classify.model import Classification, classify, require_supported
from scaffold_tools.errors import BadInput

MLA = {"kv_lora_rank": 64, "q_lora_rank": 96, "qk_rope_head_dim": 16, "qk_nope_head_dim": 32, "v_head_dim": 32}
GDN = {
    "linear_num_key_heads": 4,
    "linear_num_value_heads": 8,
    "layer_types": ["linear_attention", "full_attention"],
}


def kind(config: dict[str, Any], layout: Layout | None = None, **more: Any) -> Classification:
    return classify(inventory({**LLAMA, **config}, layout, **more))


def added(names: list[str], shape: tuple[int, ...] = (8,)) -> Layout:
    return dense_layout() | {name: ("BF16", list(shape)) for name in names}


GDN_TENSORS = ["model.layers.0.linear_attn.A_log", "model.layers.0.linear_attn.dt_bias"]
SSM_TENSORS = ["model.layers.0.mixer.A_log", "model.layers.0.mixer.D", "model.layers.0.mixer.dt_bias"]
MLA_TENSORS = ["model.layers.0.self_attn.kv_a_proj_with_mqa.weight", "model.layers.0.self_attn.kv_b_proj.weight"]
STRUCTURES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("moe", {"num_experts": 4, "num_experts_per_tok": 2}, ["model.layers.0.mlp.experts.0.up_proj.weight"]),
    ("mla", MLA, MLA_TENSORS),
    ("sparse-attention", {"index_topk": 64, "index_n_heads": 4}, ["model.layers.0.self_attn.indexer.wq_b.weight"]),
    ("mtp", {"num_nextn_predict_layers": 1}, ["model.layers.2.eh_proj.weight"]),
    ("mtp", {"mtp_num_hidden_layers": 1}, ["mtp.layers.0.self_attn.q_proj.weight"]),
    ("hybrid-linear-attention", GDN, GDN_TENSORS),
    ("hybrid-ssm", {"hybrid_override_pattern": "M*"}, SSM_TENSORS),
    ("hybrid-ssm", {"mamba_d_state": 16}, SSM_TENSORS),
    ("hybrid-convolution", {"layer_types": ["conv", "full_attention"]}, ["model.layers.0.conv.conv.weight"]),
    ("hybrid-recurrence", {"lru_width": 64}, ["model.layers.0.temporal_block.rg_lru.recurrent_param"]),
]


@pytest.mark.parametrize(("tag", "keys", "tensors"), STRUCTURES)
def test_keys_alone_tensors_alone_and_both_give_the_claim(tag: str, keys: dict[str, Any], tensors: list[str]) -> None:
    assert tag in kind(keys).structure
    both = kind(keys, added(tensors))
    assert tag in both.structure
    assert both.disagreements == ()
    silent = kind({}, added(tensors))
    assert tag in silent.structure
    assert any("no config key announces it" in item.detail for item in silent.disagreements)


@pytest.mark.parametrize(("tag", "keys", "tensors"), STRUCTURES)
def test_without_its_evidence_the_claim_is_gone(tag: str, keys: dict[str, Any], tensors: list[str]) -> None:
    assert kind({}).structure == ("dense",)
    assert kind({}, dense_layout()).structure == ("dense",)
    contradicted = kind(keys, dense_layout())
    assert tag not in contradicted.structure
    assert any("no tensor of the checkpoint shows it" in item.detail for item in contradicted.disagreements)


@pytest.mark.parametrize(("tag", "keys", "tensors"), STRUCTURES)
def test_a_table_derived_from_a_class_cannot_contradict_a_key(
    tag: str, keys: dict[str, Any], tensors: list[str]
) -> None:
    derived = kind(keys, dense_layout(), derived=True)
    assert tag in derived.structure
    assert derived.disagreements == ()


@pytest.mark.parametrize(
    "keys",
    [
        {"num_experts": 0},
        {"num_experts": 1},
        {"num_experts": 8, "enable_moe_block": False},
        {"num_nextn_predict_layers": 0},
        {"kv_lora_rank": None, "qk_rope_head_dim": 64},
        {"mamba_ssm_dtype": "float32"},
        {"mlp_only_layers": [], "decoder_sparse_step": 1},
        {"num_experts": True},
        {"layer_types": ["full_attention", "sliding_attention"]},
    ],
)
def test_a_key_that_is_off_claims_nothing(keys: dict[str, Any]) -> None:
    assert kind(keys).structure == ("dense",)


def test_a_decay_without_a_skip_weight_is_linear_attention_and_with_one_a_state_space() -> None:
    assert "hybrid-linear-attention" in kind(GDN, added(GDN_TENSORS)).structure
    assert "hybrid-ssm" not in kind(GDN, added(GDN_TENSORS)).structure
    assert "hybrid-linear-attention" not in kind({"mamba_d_state": 16}, added(SSM_TENSORS)).structure


def test_without_softmax_attention_a_mixer_is_recurrent() -> None:
    mamba = {"model_type": "m", "vocab_size": 100, "hidden_size": 64, "num_hidden_layers": 2, "state_size": 16}
    found = classify(inventory({**mamba, "num_heads": 8}))
    assert found.modality == "llm"
    assert set(found.structure) == {"dense", "recurrent", "ssm"}


def test_the_first_layer_with_experts_is_checked_against_the_declared_one() -> None:
    config = {"num_experts": 4, "first_k_dense_replace": 1}
    assert kind(config, with_experts(layers=(1,))).disagreements == ()
    assert kind(config, with_experts(layers=(0, 1))).disagreements[0].subject == "layers"


def test_layers_that_the_checkpoint_lacks_are_said() -> None:
    assert kind({}, dense_layout(layers=2)).disagreements == ()
    assert "layers 2-3" in kind({"num_hidden_layers": 4}, dense_layout(layers=2)).disagreements[0].detail


@pytest.mark.parametrize(
    ("said", "head", "tied", "differs"),
    [(True, False, True, False), (False, True, False, False), (True, True, False, True), (False, False, True, True)],
)
def test_the_head_in_the_checkpoint_decides_whether_embeddings_are_tied(
    said: bool, head: bool, tied: bool, differs: bool
) -> None:
    found = kind({"tie_word_embeddings": said}, dense_layout(head=head))
    assert found.tied is tied
    assert bool(found.disagreements) is differs


def test_nothing_is_said_of_tied_embeddings_when_nothing_tells() -> None:
    config = {key: value for key, value in LLAMA.items() if key != "tie_word_embeddings"}
    assert classify(inventory(config)).tied is None
    assert classify(inventory(config, dense_layout(head=False), derived=True)).tied is None


def test_the_text_models_own_tie_flag_comes_first_and_a_difference_is_said() -> None:
    config = {"text_config": LLAMA, "vision_config": {"patch_size": 14}, "tie_word_embeddings": True}
    found = classify(inventory(config))
    assert found.tied is False
    assert [item.subject for item in found.disagreements] == ["tied"]


TEXT = {"text_config": LLAMA}
VISION = {"vision_config": {"patch_size": 14, "image_size": 224, "hidden_size": 64}}
AUDIO = {"audio_config": {"num_mel_bins": 128, "d_model": 64}}


@pytest.mark.parametrize(
    ("config", "modality"),
    [
        (LLAMA, "llm"),
        (TEXT | VISION, "vlm"),
        (TEXT | AUDIO, "audio"),
        (TEXT | VISION | AUDIO, "omni"),
        ({"thinker_config": TEXT | VISION | AUDIO}, "omni"),
        (TEXT | {"eyes": VISION["vision_config"]}, "vlm"),
        (TEXT | {"vision_config": None, "audio_config": {}}, "llm"),
        (LLAMA | {"is_encoder_decoder": True}, "encoder-decoder"),
        (
            {"vocab_size": 10, "d_model": 8, "num_layers": 2, "num_decoder_layers": 2, "encoder_layers": 2},
            "encoder-decoder",
        ),
        (AUDIO["audio_config"] | {"vocab_size": 10, "encoder_layers": 2, "decoder_layers": 2}, "encoder-decoder"),
        ({"vocab_size": 10, "hidden_size": 8, "num_hidden_layers": 2, "type_vocab_size": 2}, "encoder"),
        (
            {"vocab_size": 10, "hidden_size": 8, "num_hidden_layers": 2, "type_vocab_size": 2, "is_decoder": True},
            "llm",
        ),
        (LLAMA | {"architectures": ["XForMaskedLM"]}, "encoder"),
        (LLAMA | {"use_bidirectional_attention": True}, "encoder"),
        (VISION["vision_config"] | {"num_hidden_layers": 2}, "encoder"),
        ({"_diffusers_version": "0.30", "_class_name": "UNet"}, "diffusion"),
        ({}, "other"),
        ({"model_type": "llama"}, "other"),
        ({"depth_": 5, "tokens_": 777, "architectures": ["HarborForCausalLM"]}, "llm"),
        ({"depth_": 5, "tokens_": 777, "architectures": ["Harbor"]}, "other"),
        ({"depth_": 5, "auto_map": {"AutoModelForCausalLM": "harbor.Harbor"}}, "llm"),
        ({"depth_": 5, "auto_map": {"AutoModel": "harbor.Harbor"}}, "other"),
    ],
)
def test_keys_tell_the_modality(config: dict[str, Any], modality: str) -> None:
    assert classify(inventory(config)).modality == modality


def test_towers_in_the_checkpoint_win_over_the_config() -> None:
    tower = added(["vision_tower.blocks.0.attn.qkv.weight"])
    assert kind({}, tower).modality == "vlm"
    assert kind({}, tower).disagreements[0].subject == "vision"
    blind = classify(inventory(TEXT | VISION, dense_layout()))
    assert blind.modality == "llm"
    assert blind.disagreements[0].subject == "vision"


def test_cross_attention_in_the_checkpoint_is_an_encoder_decoder() -> None:
    layout = added(["model.decoder.layers.0.encoder_attn.k_proj.weight"])
    assert kind({}, layout).modality == "encoder-decoder"


@pytest.mark.parametrize(
    ("config", "files", "says"),
    [
        (LLAMA | {"is_encoder_decoder": True}, (), "encoder-decoder"),
        (LLAMA | {"architectures": ["XForMaskedLM"]}, (), "encoder"),
        ({"_diffusers_version": "0.30"}, (), "diffusion"),
        ({}, (), "no language model"),
        (LLAMA, ("model-q4.gguf", "config.json"), "GGUF"),
    ],
)
def test_what_no_target_takes_is_refused_in_one_line(
    config: dict[str, Any], files: tuple[str, ...], says: str
) -> None:
    with pytest.raises(BadInput, match=says) as refused:
        require_supported(classify(inventory(config, files=files)))
    assert "\n" not in str(refused.value)
    assert refused.value.hint


def test_what_a_target_may_take_is_not_refused() -> None:
    for config in (LLAMA, TEXT | VISION, LLAMA | {"num_experts": 8}):
        require_supported(classify(inventory(config)))
    require_supported(classify(inventory(LLAMA, files=("a.gguf", "model.safetensors"))))
    require_supported(classify(published("moonshotai--Kimi-K2-Instruct")))
