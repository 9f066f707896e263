"""What shrinking keeps, and what it makes nobody's default."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from toys import toy
from toys.layers import chosen_layers
from toys.rows import (
    HEAD_DIM,
    ORIGINAL_LENGTH,
    ROPE_SCALARS,
    SCALARS,
    SEQUENCE_LENGTH,
    SIZES,
    VISION_SIZES,
    scalar_row,
    size_row,
)

Config = dict[str, Any]

DENSE: Config = {
    "architectures": ["SomeForCausalLM"],
    "model_type": "some",
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "num_hidden_layers": 36,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000,
    "rope_scaling": None,
    "attention_dropout": 0.1,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "eos_token_id": 151645,
    "pad_token_id": None,
    "torch_dtype": "bfloat16",
}
VARIANTS = ("a", "b")
CANARY_KEYS = ("rms_norm_eps", "rope_theta")


def leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted path to scalar."""
    if isinstance(value, dict):
        return {path: leaf for key, item in value.items() for path, leaf in leaves(item, f"{prefix}{key}.").items()}
    return {prefix.rstrip("."): value}


@pytest.mark.parametrize("variant", VARIANTS)
def test_sizes_are_mutually_distinct(variant: str) -> None:
    small = toy.shrink_config(DENSE, variant)
    heads, groups, dim = small["num_attention_heads"], small["num_key_value_heads"], small["head_dim"]
    sizes = [small[key] for key in ("hidden_size", "intermediate_size", "vocab_size", "max_position_embeddings")]
    sizes += [heads * dim, groups * dim, dim, heads, groups, small["num_hidden_layers"], SEQUENCE_LENGTH[variant]]
    assert len(set(sizes)) == len(sizes)
    assert dim != small["hidden_size"] // heads
    assert heads > groups > 1


def test_variants_share_no_size_and_no_scalar() -> None:
    """Or a number that an integration hard-codes could be right for both."""
    a, b = (toy.shrink_config(DENSE, variant) for variant in VARIANTS)
    same = {key for key in a if a[key] == b[key]}
    numeric = {key for key in same if isinstance(a[key], (int, float)) and not isinstance(a[key], bool)}
    assert numeric <= {"attention_dropout", "num_key_value_heads"}
    assert a["num_attention_heads"] / a["num_key_value_heads"] != b["num_attention_heads"] / b["num_key_value_heads"]


def test_structure_is_kept_and_the_input_is_not_changed() -> None:
    config = copy.deepcopy(DENSE) | {"use_cache": True, "qkv_bias": False, "hidden_act": "relu2"}
    before = copy.deepcopy(config)
    small = toy.shrink_config(config)
    assert config == before
    assert {key: small[key] for key in ("qkv_bias", "hidden_act", "pad_token_id", "rope_scaling", "model_type")} == {
        "qkv_bias": False,
        "hidden_act": "relu2",
        "pad_token_id": None,
        "rope_scaling": None,
        "model_type": "some",
    }


@pytest.mark.parametrize("key", ["auto_map", "_attn_implementation", "_name_or_path", "_anything"])
def test_keys_that_could_run_code_are_gone(key: str) -> None:
    nested = DENSE | {key: {"AutoModel": "evil.Model"}, "text_config": {**DENSE, key: "x"}}
    assert key not in toy.sanitise(nested)
    assert key not in toy.sanitise(nested)["text_config"]
    assert key not in toy.shrink_config(nested)


def test_plain_and_multi_query_attention_stay_what_they_are() -> None:
    plain = toy.shrink_config(DENSE | {"num_key_value_heads": 32})
    single = toy.shrink_config(DENSE | {"num_key_value_heads": 1})
    assert plain["num_key_value_heads"] == plain["num_attention_heads"]
    assert single["num_key_value_heads"] == 1


def test_a_model_without_explicit_head_dim_gets_none() -> None:
    config = {key: value for key, value in DENSE.items() if key != "head_dim"}
    for variant in VARIANTS:
        small = toy.shrink_config(config, variant)
        assert "head_dim" not in small
        assert small["hidden_size"] % small["num_attention_heads"] == 0


@pytest.mark.parametrize("key", ["attention_dropout", "resid_pdrop", "embd_pdrop", "hidden_dropout_prob"])
def test_dropout_is_zero(key: str) -> None:
    assert toy.shrink_config(DENSE | {key: 0.1})[key] == 0.0


@pytest.mark.parametrize(
    ("key", "real"),
    [
        ("rms_norm_eps", 1e-6),
        ("layer_norm_epsilon", 1e-5),
        ("rope_theta", 10000),
        ("attn_logit_softcapping", 50.0),
        ("final_logit_softcapping", 30.0),
        ("query_pre_attn_scalar", 256),
        ("residual_multiplier", 1.0),
        ("logits_scaling", 8),
        ("attention_multiplier", 0.0078125),
        ("some_scale_nobody_knows", 2.5),
    ],
)
def test_every_scalar_becomes_a_canary(key: str, real: float) -> None:
    values = [toy.shrink_config(DENSE | {key: real}, variant)[key] for variant in VARIANTS]
    assert real not in values
    assert values[0] != values[1]
    if key == "query_pre_attn_scalar":
        assert all(isinstance(value, int) for value in values)


@pytest.mark.parametrize("share", [0.8, 0.95, 0.999])
def test_a_share_stays_below_one(share: float) -> None:
    """The quantile of a share above one is not a number."""
    values = [toy.shrink_config(DENSE | {"pattern_": [share, share]}, variant)["pattern_"] for variant in VARIANTS]
    assert all(0 < item < 1 and item != share for value in values for item in value)


def test_canaries_of_one_config_are_unique() -> None:
    config = DENSE | {f"multiplier_{index}": 1.0 for index in range(40)}
    small = toy.shrink_config(config)
    values = [small[key] for key in config if key.startswith("multiplier_")]
    assert len(set(values)) == 40
    assert all(0.75 <= value <= 1.25 and value != 1.0 for value in values)


@pytest.mark.parametrize("key", ["residual_multiplier", "some_scale"])
def test_zero_stays_zero(key: str) -> None:
    """Zero switches something off; a canary would switch it on."""
    assert toy.shrink_config(DENSE | {key: 0.0})[key] == 0.0


def test_unknown_integers_and_training_scalars_stay() -> None:
    kept = {"some_number": 3, "initializer_range": 0.02, "router_aux_loss_coef": 0.001, "pretraining_tp": 1}
    small = toy.shrink_config(DENSE | kept)
    assert {key: small[key] for key in kept} == kept


def test_token_ids_lie_inside_the_vocabulary_and_apart() -> None:
    ids = {"bos_token_id": 151643, "eos_token_id": [151645, 151646], "image_token_id": 151655, "pad_token_id": 3}
    small = toy.shrink_config(DENSE | ids)
    new = [small["bos_token_id"], *small["eos_token_id"], small["image_token_id"]]
    assert len(set(new)) == 4
    assert all(0 <= token < small["vocab_size"] for token in new)
    assert small["pad_token_id"] == 3


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("key", ["sliding_window", "attention_chunk_size", "sliding_window_size"])
def test_windows_are_shorter_than_the_sequence(variant: str, key: str) -> None:
    window = toy.shrink_config(DENSE | {key: 4096}, variant)[key]
    assert 1 < window < SEQUENCE_LENGTH[variant] / 2
    assert toy.shrink_config(DENSE | {key: None}, variant)[key] is None


def test_sequences_exceed_original_lengths_and_fit_the_maximum() -> None:
    for variant in VARIANTS:
        small = toy.shrink_config(DENSE, variant)
        assert ORIGINAL_LENGTH[variant] < SEQUENCE_LENGTH[variant] < small["max_position_embeddings"]


# Layers.


def layers(config: Config) -> list[int]:
    return chosen_layers(config, "a")


def test_one_full_period_and_one_layer_more() -> None:
    types = (["sliding_attention"] * 5 + ["full_attention"]) * 6
    small = toy.shrink_config(DENSE | {"layer_types": types})
    assert small["num_hidden_layers"] == 7
    assert small["layer_types"] == types[:7]
    assert toy.shrink_config(DENSE | {"layer_types": types}, "b")["layer_types"] == types[:8]


def test_a_declared_period_counts_without_a_list() -> None:
    assert len(layers(DENSE | {"sliding_window_pattern": 6})) == 7
    assert len(layers(DENSE | {"full_attention_interval": 4, "decoder_sparse_step": 3})) == 13


def test_an_irregular_list_keeps_every_kind() -> None:
    types = ["full"] * 3 + ["linear"] * 20 + ["full"] * 12 + ["last"]
    small = toy.shrink_config(DENSE | {"layer_types": types})
    assert set(small["layer_types"]) == {"full", "linear", "last"}
    assert small["num_hidden_layers"] == len(small["layer_types"]) <= 13


def test_several_lists_stay_aligned() -> None:
    types = ["a", "b"] * 18
    flags = [1, 1, 1, 0] * 9
    small = toy.shrink_config(DENSE | {"layer_types": types, "no_rope_layers": flags})
    pairs = list(zip(small["layer_types"], small["no_rope_layers"], strict=True))
    assert pairs == list(zip(types, flags, strict=True))[:5]


def test_lists_of_layer_numbers_follow_the_layers() -> None:
    small = toy.shrink_config(DENSE | {"mlp_only_layers": [20], "num_hidden_layers": 36})
    assert small["num_hidden_layers"] == 4  # the model's layers 0, 1, 20, 21
    assert small["mlp_only_layers"] == [2]


def test_a_string_pattern_is_one_character_a_layer() -> None:
    small = toy.shrink_config(DENSE | {"num_hidden_layers": 12, "hybrid_override_pattern": "M-M-M*-M-M*-"})
    assert len(small["hybrid_override_pattern"]) == small["num_hidden_layers"]
    assert set(small["hybrid_override_pattern"]) == set("M-*")


@pytest.mark.parametrize(("real", "expected"), [(28, "all"), (12, 1)])
def test_max_window_layers_splits_the_toy_where_it_splits_the_model(real: int, expected: Any) -> None:
    small = toy.shrink_config(DENSE | {"num_hidden_layers": 28, "max_window_layers": real})
    assert small["max_window_layers"] == (small["num_hidden_layers"] if expected == "all" else expected)


def test_a_config_that_claims_a_billion_layers_costs_nothing() -> None:
    small = toy.shrink_config(DENSE | {"num_hidden_layers": 10**9, "mlp_only_layers": [10**8]})
    assert small["num_hidden_layers"] <= 13


def test_shared_layers_at_the_end_are_a_kind_of_their_own() -> None:
    types = (["near"] * 4 + ["far"]) * 7
    small = toy.shrink_config(DENSE | {"num_hidden_layers": 35, "layer_types": types, "num_kv_shared_layers": 15})
    shared = small["num_kv_shared_layers"]
    assert 0 < shared < small["num_hidden_layers"]
    for part in (small["layer_types"][:-shared], small["layer_types"][-shared:]):
        assert set(part) == {"near", "far"}


def test_sizes_that_belong_together_stay_so() -> None:
    wide = {"embedding_dim": DENSE["hidden_size"], "num_blocks": DENSE["num_hidden_layers"]}
    quarter = DENSE["hidden_size"] // 4
    small = toy.shrink_config(DENSE | wide | {"axes": [quarter, 3 * quarter], "other": [quarter, quarter]})
    assert small["embedding_dim"] == small["hidden_size"] == sum(small["axes"])
    assert small["num_blocks"] == small["num_hidden_layers"]
    assert small["axes"][0] * 3 == small["axes"][1]
    assert small["other"] == [quarter, quarter]


def test_one_size_a_layer_is_shrunk_and_different_ones_stay_different() -> None:
    real = [16384] * 3 + [8192] * 3
    config = {key: value for key, value in DENSE.items() if key != "layer_types"}
    small = toy.shrink_config(config | {"num_hidden_layers": 6, "intermediate_size": real})["intermediate_size"]
    assert max(small) < 200
    assert len(set(small)) == 2


def test_a_size_named_after_another_part_is_that_parts() -> None:
    parts = {"global_config": {"hidden_size": 2048}, "local_config": {"hidden_size": 512, "hidden_size_global": 2048}}
    small = toy.shrink_config(DENSE | parts)
    assert small["local_config"]["hidden_size_global"] == small["global_config"]["hidden_size"] < 2048


# Rope.


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
def test_llama3_rope_is_unusual_and_valid(variant: str, key: str) -> None:
    rope = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    real = rope | {"original_max_position_embeddings": 8192}
    small = toy.shrink_config(DENSE | {key: real}, variant)[key]
    assert small["rope_type"] == "llama3"
    assert small["high_freq_factor"] > small["low_freq_factor"]
    assert small["original_max_position_embeddings"] == ORIGINAL_LENGTH[variant]
    assert not set(leaves(small).values()) & {8.0, 1.0, 4.0, 8192}


def test_rope_of_each_layer_type_has_canaries_of_its_own() -> None:
    rope = {
        "full_attention": {"rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 0.25},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    small = toy.shrink_config(DENSE | {"rope_parameters": rope})["rope_parameters"]
    assert small["full_attention"]["rope_theta"] != small["sliding_attention"]["rope_theta"]
    assert small["full_attention"]["partial_rotary_factor"] not in (0.25, 0.5)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("real", [0.25, 0.5, 0.4, 0.75])
def test_a_rotated_part_of_a_head_is_an_even_number_of_dims(variant: str, real: float) -> None:
    small = toy.shrink_config(DENSE | {"partial_rotary_factor": real}, variant)
    dims = small["head_dim"] * small["partial_rotary_factor"]
    assert int(dims) % 2 == 0
    assert 4 <= int(dims) < HEAD_DIM[variant]


def test_a_head_rotated_whole_stays_whole() -> None:
    assert toy.shrink_config(DENSE | {"partial_rotary_factor": 1.0})["partial_rotary_factor"] == 1.0


def test_longrope_factors_have_one_value_a_frequency() -> None:
    rope = {"type": "longrope", "short_factor": [1.0] * 64, "long_factor": [2.0] * 64}
    small = toy.shrink_config(DENSE | {"rope_scaling": rope})
    for key in ("short_factor", "long_factor"):
        factors = small["rope_scaling"][key]
        assert len(factors) == small["head_dim"] // 2
        assert len(set(factors)) == len(factors)


# Rows of other kinds of models.


def test_every_size_row_names_each_key_once_and_differs_between_variants() -> None:
    for rows in (SIZES, VISION_SIZES):
        keys = [key for row in rows for key in row.keys]
        assert len(keys) == len(set(keys))
        assert all(row.why for row in rows)
        alike = {row.keys[0] for row in rows if row.a == row.b}
        structural = {"topk_group", "n_shared_experts", "first_k_dense_replace", "num_nextn_predict_layers"}
        assert alike <= structural | {"linear_num_key_heads", "mamba_head_dim", "chunk_size"}


def test_every_scalar_row_differs_between_variants_and_says_why() -> None:
    assert all(row.a != row.b and row.why for row in (*SCALARS, *ROPE_SCALARS))
    assert scalar_row("rms_norm_eps") is not None
    assert scalar_row("head_dim") is None


def test_experts_divide_into_their_groups() -> None:
    moe = DENSE | {"n_routed_experts": 256, "n_group": 8, "topk_group": 4, "num_experts_per_tok": 8}
    for variant in VARIANTS:
        small = toy.shrink_config(moe, variant)
        assert small["n_routed_experts"] % small["n_group"] == 0
        assert small["topk_group"] < small["n_group"]
        assert small["num_experts_per_tok"] <= small["topk_group"] * small["n_routed_experts"] // small["n_group"]
        assert toy.shrink_config(moe | {"n_group": 1, "topk_group": 1}, variant)["n_group"] == 1


def test_latent_attention_sizes_agree() -> None:
    latent = {"kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64}
    latent |= {"qk_head_dim": 192, "v_head_dim": 128}
    for variant in VARIANTS:
        small = toy.shrink_config(DENSE | latent | {"head_dim": 64}, variant)
        assert small["qk_head_dim"] == small["qk_nope_head_dim"] + small["qk_rope_head_dim"]
        assert small["head_dim"] == small["qk_rope_head_dim"]
        assert small["v_head_dim"] != small["qk_nope_head_dim"]


def test_state_space_heads_cover_the_inner_width() -> None:
    state = {"mamba_num_heads": 256, "mamba_head_dim": 64, "expand": 2, "n_groups": 8, "chunk_size": 128}
    for variant in VARIANTS:
        small = toy.shrink_config(DENSE | state, variant)
        assert small["mamba_num_heads"] * small["mamba_head_dim"] == small["expand"] * small["hidden_size"]
        assert small["mamba_num_heads"] % small["n_groups"] == 0
        assert small["chunk_size"] >= SEQUENCE_LENGTH[variant]


def test_a_nested_language_model_is_shrunk_and_its_tower_fits_it() -> None:
    vision = {"hidden_size": 1024, "out_hidden_size": 4096, "depth": 24, "num_heads": 16, "intermediate_size": 4096}
    small = toy.shrink_config({"text_config": DENSE, "vision_config": vision, "image_token_id": 151655})
    text, tower = small["text_config"], small["vision_config"]
    assert text["hidden_size"] == toy.shrink_config(DENSE)["hidden_size"]
    assert tower["out_hidden_size"] == text["hidden_size"] != tower["hidden_size"]
    assert tower["hidden_size"] % tower["num_heads"] == 0
    assert small["image_token_id"] < text["vocab_size"]
    assert toy.number_of_layers(small) == text["num_hidden_layers"]


def test_towers_do_not_use_rows_of_language_models() -> None:
    row = size_row("hidden_size", tower=True)
    assert row is not None
    assert row.value("a", 1024) != toy.shrink_config(DENSE)["hidden_size"]


def test_quantisation_and_dtype_are_dropped() -> None:
    small = toy.shrink_config(DENSE | {"quantization_config": {"quant_method": "fp8"}, "dtype": "bfloat16"})
    assert not {"quantization_config", "torch_dtype", "dtype"} & set(small)


def test_a_variant_is_a_or_b() -> None:
    with pytest.raises(ValueError, match="'a' or 'b'"):
        toy.shrink_config(DENSE, "c")


def test_dynamic_rope_gets_a_sequence_beyond_its_maximum() -> None:
    config = {"hidden_size": 512, "num_attention_heads": 8, "num_hidden_layers": 4, "max_position_embeddings": 4096}
    dynamic = toy.shrink_config({**config, "rope_scaling": {"rope_type": "dynamic", "factor": 4.0}})
    linear = toy.shrink_config({**config, "rope_scaling": {"rope_type": "linear", "factor": 4.0}})
    assert dynamic["max_position_embeddings"] < SEQUENCE_LENGTH["a"] < linear["max_position_embeddings"]
