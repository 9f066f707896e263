"""Everything that a plan writes into a checkout: of a dense model, one with experts, one with latent attention.

The blueprints were measured once (`tests/data/blueprints`, written by `tests/targets/upstream_tree/report.py`), and
the checkout is a miniature of upstream's: a change of a template, a rule or an edit of a shared file shows as a diff.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from scaffold_tools import jsonio
from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.targets.megatron_bridge.plan import Options, make_plan
from scaffold_tools.targets.megatron_bridge.profile import Profile
from scaffold_tools.workspace.plan import Plan
from targets.checkouts import checkout, profile_of
from targets.test_examples import SCRIPTS
from targets.test_shared_files import FILES

TESTS = Path(__file__).resolve().parents[1]
GOLDEN = TESTS / "golden" / "megatron_bridge_checkout"
BLUEPRINTS = TESTS / "data" / "blueprints"
MODELS = {"qwen3": "dense", "qwen3_moe": "experts", "deepseek_v3": "latent attention"}

_LAUNCH = "tests/functional_tests/launch_scripts/{}/active/L1_Launch_models_llama.sh"
LAUNCHED = (_LAUNCH.format("gb200"), _LAUNCH.format("h100"))

CONFIG_MAPPING = """
num_hidden_layers num_layers, hidden_size hidden_size, intermediate_size ffn_hidden_size,
num_attention_heads num_attention_heads, num_key_value_heads num_query_groups, head_dim kv_channels,
vocab_size vocab_size, max_position_embeddings seq_length, rms_norm_eps layernorm_epsilon,
initializer_range init_method_std, attention_dropout attention_dropout, hidden_dropout hidden_dropout,
tie_word_embeddings share_embeddings_and_output_weights, attention_bias add_qkv_bias, mlp_bias add_bias_linear,
use_qk_norm qk_layernorm, rope_theta rotary_base, partial_rotary_factor rotary_percent, num_experts num_moe_experts,
num_local_experts num_moe_experts, num_experts_per_tok moe_router_topk, moe_intermediate_size moe_ffn_hidden_size,
aux_loss_alpha moe_aux_loss_coeff, router_aux_loss_coef moe_aux_loss_coeff, scoring_func moe_router_score_function,
n_routed_experts num_moe_experts, n_group moe_router_num_groups, topk_group moe_router_group_topk,
routed_scaling_factor moe_router_topk_scaling_factor, q_lora_rank q_lora_rank, kv_lora_rank kv_lora_rank,
qk_nope_head_dim qk_head_dim, qk_rope_head_dim qk_pos_emb_head_dim, v_head_dim v_head_dim,
num_nextn_predict_layers mtp_num_layers
"""
"""As upstream's base bridge has it."""


class _Everything(frozenset[str]):
    """Fields of a provider that has them all."""

    def __contains__(self, name: object) -> bool:
        return True


def _profile(root: Path) -> Profile:
    pairs = tuple((key, attribute) for key, attribute in (row.split() for row in CONFIG_MAPPING.split(",")))
    profile = profile_of(root)
    return dataclasses.replace(
        profile,
        construction="config-builder",
        config_mapping=pairs,
        provider_fields=_Everything(profile.provider_fields),
    )


@pytest.fixture
def miniature(tmp_path: Path) -> Path:
    """A checkout with one family, and every shared file that a model has to be put into."""
    checkout(tmp_path)
    scripts = dict.fromkeys((*SCRIPTS, *LAUNCHED), "# called by what is generated\n")
    for path, text in {**scripts, **FILES}.items():
        if path.startswith("src/"):
            continue
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    return tmp_path


def plan_in(root: Path, model: str) -> Plan:
    blueprint = jsonio.loads(Blueprint, (BLUEPRINTS / f"{model}.json").read_text(encoding="utf-8"))
    return make_plan(blueprint, root=root, profile=_profile(root), options=Options(year=2026))


@pytest.mark.parametrize("model", MODELS)
def test_what_is_written_into_a_checkout_is_the_golden_tree(model: str, miniature: Path) -> None:
    found = {change.path: change.content for change in plan_in(miniature, model).changes}
    folder = GOLDEN / model
    if os.environ.get("SCAFFOLD_UPDATE_GOLDEN"):
        for old in folder.rglob("*"):
            if old.is_file():
                old.unlink()
        for path, text in found.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    golden = {one.relative_to(folder).as_posix(): one.read_text("utf-8") for one in folder.rglob("*") if one.is_file()}
    assert found.keys() == golden.keys()
    assert {path for path in found if found[path] != golden[path]} == set()


def test_the_golden_trees_edit_shared_files_and_make_new_ones(miniature: Path) -> None:
    kinds = {change.kind for model in MODELS for change in plan_in(miniature, model).changes}
    assert kinds == {"create", "edit"}


def test_another_value_of_one_fact_is_another_tree(miniature: Path) -> None:
    blueprint = jsonio.loads(Blueprint, (BLUEPRINTS / "qwen3.json").read_text(encoding="utf-8"))
    facts = tuple(
        dataclasses.replace(one, value="interleaved") if one.name == "rope.pairing" else one for one in blueprint.facts
    )
    changed = dataclasses.replace(blueprint, facts=facts)
    other = make_plan(changed, root=miniature, profile=_profile(miniature), options=Options(year=2026))
    assert {one.content for one in other.changes} != {one.content for one in plan_in(miniature, "qwen3").changes}
