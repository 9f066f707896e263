"""From a config alone to proven logits, and the same with one wrong belief."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.verify.lane import LaneSession
from support.lane_fixture import lane
from targets.derived import believing, derived, proof

__all__ = ["lane"]

pytestmark = pytest.mark.lane
SMALL = {"vocab_size": 512, "tie_word_embeddings": True}


def _config(model_type: str, architecture: str, **rest: Any) -> dict[str, Any]:
    return {**SMALL, "model_type": model_type, "architectures": [architecture], **rest}


CONFIGS: dict[str, dict[str, Any]] = {
    "bloom": _config("bloom", "BloomForCausalLM", hidden_size=256, n_head=8, n_layer=4),
    "opt": _config(
        "opt", "OPTForCausalLM", hidden_size=256, ffn_dim=1024, num_attention_heads=8, num_hidden_layers=4,
        max_position_embeddings=128, word_embed_proj_dim=256,
    ),
    "xglm": _config(
        "xglm", "XGLMForCausalLM", d_model=256, ffn_dim=1024, attention_heads=8, num_layers=4, scale_embedding=True,
        max_position_embeddings=128,
    ),
    "gpt2": _config("gpt2", "GPT2LMHeadModel", n_embd=256, n_head=8, n_layer=4, n_positions=128),
    "codegen": _config(
        "codegen", "CodeGenForCausalLM", n_embd=512, n_head=8, n_layer=4, n_positions=128, rotary_dim=32, n_ctx=128,
        tie_word_embeddings=False,
    ),
    "nanochat": _config(
        "nanochat", "NanoChatForCausalLM", hidden_size=256, intermediate_size=1024, num_attention_heads=8,
        num_key_value_heads=8, num_hidden_layers=4, max_position_embeddings=128, tie_word_embeddings=False,
    ),
    "phi": _config(
        "phi", "PhiForCausalLM", hidden_size=256, intermediate_size=1024, num_attention_heads=8, num_hidden_layers=4,
        partial_rotary_factor=0.5, tie_word_embeddings=False,
    ),
    "ministral3": _config(
        "ministral3", "Ministral3ForCausalLM", hidden_size=256, intermediate_size=704, num_attention_heads=8,
        num_key_value_heads=2, num_hidden_layers=4, head_dim=32, tie_word_embeddings=False, sliding_window=None,
        max_position_embeddings=16384,
        rope_parameters={
            "type": "yarn", "rope_type": "yarn", "rope_theta": 1000000.0, "factor": 16.0, "beta_fast": 32.0,
            "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1,
            "original_max_position_embeddings": 1024,
        },
    ),
    "apertus": _config(
        "apertus", "ApertusForCausalLM", hidden_size=256, intermediate_size=704, num_attention_heads=8,
        num_key_value_heads=2, num_hidden_layers=4, max_position_embeddings=128, tie_word_embeddings=False,
        pad_token_id=0,
    ),
    "glm4": _config(
        "glm4", "Glm4ForCausalLM", hidden_size=256, intermediate_size=704, num_attention_heads=8, pad_token_id=0,
        num_key_value_heads=2, num_hidden_layers=4, head_dim=32, tie_word_embeddings=False,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def blueprints(lane: LaneSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Blueprint]:
    return {name: derived(lane, config, tmp_path_factory.mktemp("config")) for name, config in CONFIGS.items()}


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_what_was_derived_is_proven(
    lane: LaneSession, blueprints: dict[str, Blueprint], name: str, tmp_path: Path
) -> None:
    assert blueprints[name].gaps == ()
    found = proof(lane, blueprints[name], CONFIGS[name], tmp_path)
    assert found.proven, [check for check in found.checks if check.status != "passed"]


WRONG: tuple[tuple[str, str, Any], ...] = (
    ("bloom", "norm.eps", 1e-6),
    ("bloom", "position.kind", "none"),
    ("opt", "position.offset", 1),
    ("xglm", "position.sinusoid", "half:vaswani"),
    ("xglm", "position.offset", 1),
    ("xglm", "embedding.multiplier", 1.0),
    ("nanochat", "rope.reversed", False),
    ("nanochat", "embedding.norm", False),
    ("phi", "residual.parallel", False),
    ("apertus", "qk_norm.kind", "none"),
    ("ministral3", "attention.temperature.beta", 0.1),
    ("ministral3", "attention.temperature.length", 1024),
)


@pytest.mark.parametrize(("name", "fact", "value"), WRONG, ids=[f"{name}-{fact}" for name, fact, _ in WRONG])
def test_a_wrong_belief_is_not_proven(
    lane: LaneSession, blueprints: dict[str, Blueprint], tmp_path: Path, name: str, fact: str, value: Any
) -> None:
    wrong = believing(blueprints[name], fact, value)
    assert not proof(lane, wrong, CONFIGS[name], tmp_path).proven


def test_a_head_without_its_bias_is_not_proven(
    lane: LaneSession, blueprints: dict[str, Blueprint], tmp_path: Path
) -> None:
    phi = believing(blueprints["phi"], "bias.head", False)
    roles = tuple(row for row in phi.roles if (row.role, row.param) != ("head", "bias"))
    found = proof(lane, dataclasses.replace(phi, roles=roles), CONFIGS["phi"], tmp_path)
    assert any(check.name == "logits.max_abs" and check.status == "failed" for check in found.checks)


PACKINGS = (("codegen", "blocks4:k,v,q"), ("codegen", "per_head:q,v,k"), ("gpt2", "concat:k,q,v"))


@pytest.mark.parametrize(("name", "packing"), PACKINGS)
def test_a_wrong_layout_of_fused_rows_is_not_proven(
    lane: LaneSession, blueprints: dict[str, Blueprint], tmp_path: Path, name: str, packing: str
) -> None:
    blueprint = blueprints[name]
    roles = tuple(
        dataclasses.replace(row, packing=packing) if row.role == "attn.qkv" else row for row in blueprint.roles
    )
    assert not proof(lane, dataclasses.replace(blueprint, roles=roles), CONFIGS[name], tmp_path).proven


def test_post_norms_in_each_others_place_are_not_proven(
    lane: LaneSession, blueprints: dict[str, Blueprint], tmp_path: Path
) -> None:
    swapped = {"norm.post_attn": "norm.post_mlp", "norm.post_mlp": "norm.post_attn"}
    roles = tuple(dataclasses.replace(row, role=swapped.get(row.role, row.role)) for row in blueprints["glm4"].roles)
    wrong = dataclasses.replace(blueprints["glm4"], roles=roles)
    assert not proof(lane, wrong, CONFIGS["glm4"], tmp_path).proven


def test_halves_of_a_fused_mlp_the_other_way_round_are_not_proven(
    lane: LaneSession, blueprints: dict[str, Blueprint], tmp_path: Path
) -> None:
    glm4 = blueprints["glm4"]
    roles = tuple(
        dataclasses.replace(row, packing="concat:up,gate") if row.role == "mlp.gate_up" else row for row in glm4.roles
    )
    assert not proof(lane, dataclasses.replace(glm4, roles=roles), CONFIGS["glm4"], tmp_path).proven
