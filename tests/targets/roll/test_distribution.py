"""How parameters are split over ranks, decided by the adapter's own way to look them up."""

from __future__ import annotations

import pytest

from scaffold_tools.targets.roll.distribution import (
    COLUMN,
    DUPLICATED,
    HALVES,
    KINDS,
    ROW,
    distribute,
    field_of,
    resolve,
)
from scaffold_tools.targets.roll.presets import DistPreset
from scaffold_tools.targets.roll.profile import read_profile
from tests.targets.roll.adapter_tree import write_adapter

EXAMPLES = {
    "embedding.word_embeddings.weight": COLUMN,
    "embedding.position_embeddings.weight": DUPLICATED,
    ".self_attention.linear_qkv.layer_norm_bias": DUPLICATED,
    ".self_attention.linear_qkv.bias": COLUMN,
    ".self_attention.linear_gate.weight": COLUMN,
    ".self_attention.core_attention.softmax_offset": COLUMN,
    ".self_attention.linear_kv_up_proj.weight": COLUMN,
    ".self_attention.linear_q_down_proj.weight": DUPLICATED,
    ".self_attention.linear_proj.weight": ROW,
    ".linear_fc2.row_bias": DUPLICATED,
    ".self_attention.linear_proj.pre_layernorm.weight": COLUMN,
    ".self_attention.core_attention.key_bias.rate": COLUMN,
    ".self_attention.core_attention.lambda_q1": DUPLICATED,
    ".self_attention.core_attention.indexer.k_norm.bias": DUPLICATED,
    ".self_attention.A_log": COLUMN,
    ".self_attention.out_norm.weight": DUPLICATED,
    ".mlp.activation_func.alpha_p": DUPLICATED,
    ".mlp.shared_experts.linear_fc1.weight": HALVES,
    ".mlp.router.expert_bias": DUPLICATED,
    ".mlp.linear_fc2.post_layernorm.weight": DUPLICATED,
}
"""One parameter for every row of the table."""


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    return read_profile(*write_adapter(tmp_path_factory.mktemp("roll")))


def distributed(names, profile, **words):
    return distribute(names, profile, **({"gated": True, "latent": False, "shared": False} | words))


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_kind_of_parameter_is_split_as_megatron_core_does(name):
    assert field_of(name, gated=True) == EXAMPLES[name]


def test_every_row_decides_an_example():
    import re

    decided = {next(row.pattern for row in KINDS if re.fullmatch(row.pattern, name)) for name in EXAMPLES}
    assert decided == {row.pattern for row in KINDS}


def test_without_a_gate_there_are_no_halves():
    assert field_of(".mlp.linear_fc1.weight", gated=False) == COLUMN


def test_what_a_preset_has_is_not_said_again(profile):
    found = distributed([".self_attention.linear_qkv.weight", ".mlp.linear_fc1.weight"], profile)
    assert found.presets == ("default_dist_config",)
    assert found.own == ()


def test_what_a_preset_lacks_is_added(profile):
    found = distributed([".mlp.router.expert_bias"], profile)
    assert found.own == ((DUPLICATED, (".mlp.router.expert_bias",)),)


def test_a_wrong_rule_of_a_preset_is_overruled(profile):
    """megatron-core does not shard the projection to the query latent, and a preset that says so breaks two ranks."""
    found = distributed([".self_attention.linear_q_down_proj.weight"], profile, latent=True)
    assert found.presets == ("mla_dist_config",)
    assert dict(found.own) == {DUPLICATED: (".self_attention.linear_q_down_proj.weight",)}
    assert found.gaps == ()


def test_a_wrong_rule_that_is_asked_first_is_a_gap(profile):
    """Lists have an order: halves are asked before whole copies."""
    found = distributed([".linear_fc1.weight"], profile, known=((".linear_fc1.weight", DUPLICATED),))
    assert ["asks before" in gap.reason for gap in found.gaps] == [True]


def test_a_bias_is_looked_up_as_the_weight_beside_it(profile):
    preset = profile.preset("default_dist_config")
    assert resolve(preset, ".self_attention.linear_qkv.bias", gated=True) == COLUMN
    assert resolve(preset, ".self_attention.linear_proj.bias", gated=True) == ROW, "which would cut it in pieces"
    assert resolve(preset, ".self_attention.linear_proj.row_bias", gated=True) is None


def test_ends_of_the_model_are_on_their_stages(profile):
    found = dict(distributed(["embedding.position_embeddings.weight", "head_bias.bias"], profile).own)
    assert found["pre_process_weights"] == ("embedding.position_embeddings.weight",)
    assert found["post_process_weights"] == ("head_bias.bias",)
    assert "pre_process_weights" not in dict(distributed(["embedding.word_embeddings.weight"], profile).own)


def test_a_parameter_that_no_rule_knows_is_a_gap(profile):
    (gap,) = distributed([".self_attention.oddity"], profile).gaps
    assert gap.subject == ".self_attention.oddity"


def test_patterns_of_presets_are_matched_as_the_adapter_does():
    preset = DistPreset("one", ((DUPLICATED, ("vision_model.*",)),))
    assert resolve(preset, "vision_model.blocks.0.weight", gated=True) == DUPLICATED


def test_biases_of_grouped_experts_have_names_of_their_own(profile):
    """They are looked up as weights and then named by what they are, which presets have no row for."""
    biases = (".linear_fc1.bias", ".linear_fc2.row_bias")
    found = distributed(biases, profile, known=((".linear_fc2.row_bias", HALVES),))
    assert found.grouped == tuple((name, f".mlp.experts{name}") for name in biases)
    assert dict(found.own) == {HALVES: (".linear_fc2.row_bias",)}
    assert distributed([".linear_fc1.weight"], profile).grouped == ()
