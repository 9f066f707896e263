"""Mixtures of experts: what routes, how, and where its weights lie on disk is measured, whatever it is called."""

from __future__ import annotations

from typing import Any

import pytest

from blueprint.test_probe_transformers import blueprint_of
from scaffold_tools.blueprint.expressions import shown
from scaffold_tools.verify.lane import LaneSession

pytestmark = pytest.mark.lane

SIZES: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "tie_word_embeddings": False,
    "num_experts_per_tok": 4,
}
FORMULA = {
    "score": "softmax", "top_k": 3, "renormalise": False, "scale": 1.0, "groups": 1, "kept": 1, "group_score": None,
    "bias": False,
}  # fmt: skip
FORMULAS: dict[str, dict[str, Any]] = {
    "plain softmax": {},
    "renormalised softmax": {"renormalise": True},
    "scaled sigmoid": {"score": "sigmoid", "scale": 2.5},
    "renormalised sigmoid with a bias": {"score": "sigmoid", "renormalise": True, "bias": True},
    "softmax with a bias": {"renormalise": True, "bias": True},
    "sqrtsoftplus": {"score": "sqrtsoftplus", "renormalise": True, "scale": 1.5},
    "groups by their best two": {"score": "sigmoid", "renormalise": True, "groups": 4, "kept": 2,
                                 "group_score": "top2", "bias": True},
    "groups by their best": {"groups": 3, "kept": 2, "group_score": "max"},
    "one expert": {"score": "sigmoid", "top_k": 1},
}  # fmt: skip


def config(model_type: str, architecture: str, **rest: Any) -> dict[str, Any]:
    return {**SIZES, "model_type": model_type, "architectures": [architecture], **rest}


@pytest.mark.parametrize("name", sorted(FORMULAS))
def test_the_formula_of_a_router_is_found_from_its_weights(lane: LaneSession, name: str) -> None:
    wanted = {**FORMULA, **FORMULAS[name]}
    best = lane.call("fit_router", {"formula": wanted})["found"][0]
    assert (best["bias"] is not None) == wanted.pop("bias")
    wanted["groups_kept"] = wanted.pop("kept")
    assert {key: pytest.approx(value) if key == "scale" else value for key, value in wanted.items()} == {
        key: best[key] for key in wanted
    }


def test_the_margin_of_a_sparse_mixer_is_one_of_the_numbers_in_the_code(lane: LaneSession) -> None:
    formula = {**FORMULA, "score": "sparsemixer", "top_k": 2, "margin": 0.3}
    (best,) = lane.call("fit_router", {"formula": formula, "margins": [0.2, 0.3, 7.0]})["found"]
    assert (best["score"], best["top_k"], best["margin"]) == ("sparsemixer", 2, 0.3)
    assert lane.call("fit_router", {"formula": formula, "margins": [0.2, 7.0]})["found"] == []


@pytest.mark.parametrize("name", ["plain softmax", "renormalised sigmoid with a bias"])
def test_weights_of_no_formula_are_not_measured(lane: LaneSession, name: str) -> None:
    """Negative control: one token's weights are one per cent off."""
    answer = lane.call("fit_router", {"formula": {**FORMULA, **FORMULAS[name]}, "spoil": 1.01})
    assert answer["found"] == [] and "experts' weights" in answer["reason"]


def test_experts_that_files_hold_apart_are_named_as_files_name_them(lane: LaneSession) -> None:
    blueprint = blueprint_of(lane, config("mixtral", "MixtralForCausalLM", num_local_experts=8))
    assert blueprint.gaps == ()
    rows = {row.role: row for row in blueprint.roles if row.role.startswith("moe.")}
    assert rows["moe.expert.gate"].pattern == "model.layers.*.block_sparse_moe.experts.*.w1.weight"
    assert rows["moe.expert.up"].pattern == "model.layers.*.block_sparse_moe.experts.*.w3.weight"
    assert rows["moe.expert.down"].pattern == "model.layers.*.block_sparse_moe.experts.*.w2.weight"
    assert rows["moe.router"].pattern == "model.layers.*.block_sparse_moe.gate.weight"
    assert (blueprint.value("moe.score"), blueprint.value("moe.renormalise")) == ("softmax", True)


def test_stacked_experts_tell_orientation_and_interleaving_even_when_square(lane: LaneSession) -> None:
    rest = {"hidden_size": 704, "num_local_experts": 8, "head_dim": 64, "sliding_window": 16}
    blueprint = blueprint_of(lane, config("gpt_oss", "GptOssForCausalLM", **rest))
    rows = {(row.role, row.param): row for row in blueprint.roles}
    assert rows["moe.expert.gate_up", "weight"].packing == "interleaved:gate,up;stacked;transposed"
    assert rows["moe.expert.gate_up", "bias"].packing == "interleaved:gate,up;stacked"
    assert rows["moe.expert.down", "weight"].packing == "stacked;transposed"
    assert (blueprint.value("moe.clamp"), blueprint.value("moe.up_offset")) == (7.0, 1.0)
    assert blueprint.value("mlp.activation") == "quick_gelu"
    assert blueprint.value("attention.sinks") is True


def test_groups_bias_scale_and_dense_layers_follow_from_keys(lane: LaneSession) -> None:
    rest = {
        "n_routed_experts": 32, "moe_intermediate_size": 96, "n_shared_experts": 2, "n_group": 8, "topk_group": 2,
        "first_k_dense_replace": 2, "routed_scaling_factor": 2.5, "norm_topk_prob": True, "head_dim": 32,
        "pad_token_id": 0,
    }  # fmt: skip
    blueprint = blueprint_of(lane, config("glm4_moe", "Glm4MoeForCausalLM", **rest))
    assert blueprint.gaps == ()
    assert blueprint.value("moe.layers") == [False, False, True, True, True, True]
    assert blueprint.value("moe.group_score") == "top2" and blueprint.value("moe.correction_bias") is True
    said = {name: shown(fact.expression) for name in ("moe.groups", "moe.groups_kept", "moe.scale", "moe.shared_width")
            if (fact := blueprint.fact(name))}  # fmt: skip
    assert said == {
        "moe.groups": "n_group",
        "moe.groups_kept": "topk_group",
        "moe.scale": "routed_scaling_factor",
        "moe.shared_width": "moe_intermediate_size * n_shared_experts",
    }


def test_the_selection_bias_of_a_softmax_router_is_seen(lane: LaneSession) -> None:
    """The config of this model says nothing of it, and megatron-core has no such router."""
    rest = {"moe_num_experts": 16, "moe_k": 4, "moe_intermediate_size": 96, "moe_num_shared_experts": 2}
    blueprint = blueprint_of(lane, config("ernie4_5_moe", "Ernie4_5_MoeForCausalLM", **rest))
    assert (blueprint.value("moe.score"), blueprint.value("moe.correction_bias")) == ("softmax", True)
    bias = blueprint.role("moe.router.correction_bias", "other")
    assert bias is not None and bias.pattern == "model.layers.*.mlp.moe_statics.e_score_correction_bias"


def test_a_flag_that_switches_renormalisation_is_the_fact(lane: LaneSession) -> None:
    for value in (True, False):
        blueprint = blueprint_of(
            lane,
            config("qwen3_moe", "Qwen3MoeForCausalLM", num_experts=8, moe_intermediate_size=96, norm_topk_prob=value),
        )
        fact = blueprint.fact("moe.renormalise")
        assert fact is not None and fact.value is value and shown(fact.expression) == "norm_topk_prob"
