"""The key table, and what is said of keys that it does not have."""

from __future__ import annotations

from pathlib import Path

import pytest

from classify.config_classes import config_classes, unrecognised
from classify.inventories import CONFIGS, LLAMA, inventory, published
from scaffold_tools.classify.keys import KEYS, find, lookup, may_mean, read_keys
from scaffold_tools.classify.model import classify
from scaffold_tools.verify.lane_env import find_lane


def test_a_spelling_means_one_thing_in_one_scope() -> None:
    spellings = [(row.scope, name) for row in KEYS for name in (row.name, *row.aliases)]
    assert len(spellings) == len(set(spellings))


def test_every_row_says_what_it_means() -> None:
    assert all(row.meaning and row.group for row in KEYS)


@pytest.mark.parametrize(
    ("key", "group", "affects"),
    [
        ("n_embd", "size", True),
        ("layer_norm_epsilon", "norm", True),
        ("rope_theta", "rope", True),
        ("final_logit_softcapping", "scaling", True),
        ("kv_lora_rank", "mla", True),
        ("linear_num_value_heads", "linear-attention", True),
        ("attention_dropout", "training-only", False),
        ("initializer_range", "training-only", False),
        ("router_aux_loss_coef", "training-only", False),
        ("use_cache", "generation/cache", False),
        ("transformers_version", "bookkeeping", False),
        ("eos_token_id", "tokens", False),
        ("some_new_token_id", "tokens", False),
        ("cross_dropout_rate", "training-only", False),
    ],
)
def test_a_key_has_its_group_and_whether_logits_can_depend_on_it(key: str, group: str, affects: bool) -> None:
    row = lookup(key)
    assert row is not None
    assert (row.group, row.affects_logits) == (group, affects)


@pytest.mark.parametrize("scale", ["residual_multiplier", "logit_scale", "attention_value_scale", "swiglu_limit"])
def test_no_scale_on_activations_is_called_harmless(scale: str) -> None:
    row = lookup(scale)
    assert row is not None
    assert row.affects_logits


def test_a_rope_setting_is_known_inside_a_rope_dict_and_nowhere_else() -> None:
    known, unknown = read_keys({"rope_scaling": {"factor": 8.0, "rope_type": "yarn"}, "factor": 8.0})
    assert {key.path for key in known} == {"rope_scaling", "rope_scaling.factor", "rope_scaling.rope_type"}
    assert [key.path for key in unknown] == ["factor"]


def test_rope_dicts_keyed_by_layer_type_are_entered() -> None:
    config = {"rope_parameters": {"sliding_attention": {"rope_theta": 1e4, "wobble": 2.0}}}
    known, unknown = read_keys(config)
    assert "rope_parameters.sliding_attention.rope_theta" in {key.path for key in known}
    assert [key.path for key in unknown] == ["rope_parameters.sliding_attention.wobble"]


def test_labels_of_users_are_not_settings() -> None:
    known, unknown = read_keys({"id2label": {"0": "cat"}, "auto_map": {"AutoModel": "x.Y"}})
    assert {key.path for key in known} == {"id2label", "auto_map"}
    assert unknown == ()


def test_an_unknown_key_of_a_sub_config_is_listed_with_its_path() -> None:
    found = classify(inventory({"text_config": {**LLAMA, "warp_factor": 3.5}, "vision_config": {"patch_size": 14}}))
    assert [(key.path, key.value) for key in found.unrecognised] == [("text_config.warp_factor", "3.5")]
    assert "multiplier" in found.unrecognised[0].may_mean


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "leaves off"),
        (False, "does not use"),
        (True, "switch"),
        (1e-6, "epsilon"),
        (0.22, "multiplier"),
        ([1, 0, 1, 0], "per-layer"),
        ([1, 0], "structured"),
        ("swish_v2", "variant"),
        (64, "size"),
        ({"a": 1}, "structured"),
    ],
)
def test_the_form_of_a_value_hints_at_its_meaning(value: object, says: str) -> None:
    assert says in may_mean("mystery", value, layers=4)


def test_find_takes_any_spelling_and_skips_null() -> None:
    assert find({"n_layer": 3, "num_hidden_layers": None}, "num_hidden_layers") == ("n_layer", 3)
    assert find({}, "num_hidden_layers") is None


def test_dropping_a_row_would_show() -> None:
    """The recognition of published configs is not vacuous: an invented key in each of them is reported."""
    for folder in CONFIGS.iterdir():
        original = published(folder.name)
        found = classify(inventory({**original.config, "zorp_gain": 0.5}))
        assert [key.path for key in found.unrecognised] == ["zorp_gain"]


@pytest.mark.lane
def test_nearly_every_field_of_the_decoder_classes_of_transformers_is_recognised() -> None:
    lane = find_lane()
    assert lane is not None
    packages = sorted(Path(lane.python).parent.parent.glob("lib/python3*/site-packages/transformers"))
    found = config_classes(packages[0])
    decoders = tuple(item for item in found if item.decoder)
    assert len(decoders) > 100
    missing = unrecognised(decoders)
    assert missing.total() / sum(len(item.keys) for item in decoders) < 0.01, missing.most_common(40)
    everything = unrecognised(found)
    assert everything.total() / sum(len(item.keys) for item in found) < 0.25
