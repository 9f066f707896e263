"""Sizes, memory, parallel layouts and names of training recipes: counted, reckoned and chosen by rules."""

from __future__ import annotations

import dataclasses

import pytest

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.targets.megatron_bridge.blocks import choose_blocks
from scaffold_tools.targets.megatron_bridge.recipes.design import OBSTACLES
from scaffold_tools.targets.megatron_bridge.recipes.memory import BUDGET, Split, estimate
from scaffold_tools.targets.megatron_bridge.recipes.naming import alias, canonical, recipe_stem, size_token
from scaffold_tools.targets.megatron_bridge.recipes.parallelism import RULES, choose, global_batch_size
from scaffold_tools.targets.megatron_bridge.recipes.size import model_size
from targets.blueprints import qwen3, role, with_fact


def mixture(experts: int = 128, width: int = 768, *, stacked: bool = False) -> Blueprint:
    """The dense model with experts in the place of its MLP."""
    blueprint = qwen3()
    kept = tuple(row for row in blueprint.roles if not row.role.startswith("mlp."))
    lead, star = ((experts,), "") if stacked else ((), ".*")
    routed = tuple(
        role(f"moe.expert.{part}", f"model.layers.*.mlp.experts{star}.{part}_proj.weight", (*lead, *shape))
        for part, shape in (("gate", (width, 4096)), ("up", (width, 4096)), ("down", (4096, width)))
    )
    router = role("moe.router", "model.layers.*.mlp.gate.weight", (experts, 4096))
    blueprint = dataclasses.replace(blueprint, roles=(*kept, router, *routed))
    for name, value in (("moe.num_experts", experts), ("moe.top_k", 8), ("moe.ffn_hidden_size", width)):
        blueprint = with_fact(blueprint, name, value)
    return with_fact(blueprint, "moe.layers", [True] * 36)


def test_every_parameter_is_counted_once():
    """The published count of Qwen3-8B, which has been added up from its shapes here too."""
    layer = 4096 * (4096 + 1024 + 1024 + 4096) + 3 * 4096 * 12288 + 2 * 4096 + 2 * 128
    size = model_size(qwen3())
    assert size.total == 36 * layer + 2 * 151936 * 4096 + 4096 == 8_190_735_360
    assert size.active == size.total
    assert size.experts == 0
    assert size.head == 151936 * 4096


@pytest.mark.parametrize("stacked", [False, True])
def test_experts_are_counted_however_they_are_stored(stacked):
    size = model_size(mixture(stacked=stacked))
    assert size.experts == 36 * 128 * 3 * 4096 * 768
    assert size.active_experts == 36 * 8 * 3 * 4096 * 768
    assert size.total - size.active == size.experts - size.active_experts


def test_a_tied_head_and_saved_tables_are_not_parameters_of_their_own():
    full = qwen3()
    tied = dataclasses.replace(full, roles=tuple(row for row in full.roles if row.role != "head"))
    assert model_size(full).total - model_size(tied).total == 151936 * 4096
    table = dataclasses.replace(full, roles=(*full.roles, role("buffer", "model.layers.*.inv_freq", (64,))))
    assert model_size(table) == model_size(full)


def test_activations_of_a_plain_layer_are_those_of_the_paper():
    """32*s*b*H bytes for multi-head attention and an ungated MLP of 4*H: 16 numbers of two bytes for each channel."""
    blueprint = with_fact(qwen3(), "num_query_groups", 32)
    plain = {"attn.k": (4096, 4096), "attn.v": (4096, 4096), "mlp.up": (16384, 4096), "mlp.down": (4096, 16384)}
    roles = tuple(
        dataclasses.replace(row, shape=plain.get(row.role, row.shape))
        for row in blueprint.roles
        if row.role != "mlp.gate"
    )
    size = model_size(dataclasses.replace(blueprint, roles=roles))
    assert 2 * size.activations == 36 * 32 * 4096


def test_a_transposed_weight_leaves_what_it_puts_out():
    full = qwen3()
    turned = tuple(
        dataclasses.replace(row, shape=row.shape[::-1], transposed=True) if row.role.startswith("mlp.") else row
        for row in full.roles
    )
    assert model_size(dataclasses.replace(full, roles=turned)).activations == model_size(full).activations


def test_states_take_eighteen_bytes_without_replicas_and_less_with_them():
    size = model_size(qwen3())
    alone = estimate(size, Split(), "pretrain", 4096)
    assert alone.weights + alone.gradients + alone.optimizer == 18 * size.total
    shared = estimate(size, Split(world=4), "pretrain", 4096)
    assert shared.optimizer == 12 * size.total / 4
    assert (shared.weights, shared.gradients) == (alone.weights, alone.gradients)


def test_experts_are_split_by_expert_parallelism_and_the_rest_by_tensor_parallelism():
    size = model_size(mixture())
    memory = estimate(size, Split(tp=2, ep=4, world=8), "pretrain", 4096)
    rest = size.embedding + size.dense
    assert memory.weights == round(2 * (rest / 2 + size.experts / 4))
    assert memory.optimizer == round(12 * (rest / 2 / 4 + size.experts / 4 / 2))


def test_adapters_alone_have_gradients():
    size = model_size(qwen3())
    memory = estimate(size, Split(), "peft", 2048)
    assert memory.gradients == 4 * size.adapters
    assert memory.weights == 2 * (size.total + size.adapters)
    assert size.adapters == 36 * 32 * (8192 + 2 * 5120 + 8192 + 3 * 16384)
    assert estimate(size, Split(), "inference", 2048).gradients == 0


def test_a_pipeline_keeps_as_many_activations_as_one_stage_would():
    """The first stage has a quarter of the layers, and four micro-batches in flight."""
    size = dataclasses.replace(model_size(qwen3()), vocab_size=0)
    one, four = (estimate(size, Split(pp=pp, world=4), "pretrain", 4096) for pp in (1, 4))
    assert four.activations == one.activations
    assert estimate(size, Split(recompute=True), "pretrain", 4096).activations < one.activations / 10


def test_a_stage_with_one_layer_more_is_the_fullest():
    size = model_size(qwen3())
    uneven = estimate(size, Split(pp=8, world=8), "pretrain", 4096)
    assert uneven.weights == round(2 * (size.dense * 5 / 36 + size.head))


@pytest.mark.parametrize(
    ("rule", "change", "bad", "good"),
    [
        ("heads", ("num_attention_heads", 6), Split(tp=4, world=4), Split(tp=2, world=2)),
        ("groups", ("num_query_groups", 2), Split(tp=4, world=4), Split(tp=2, world=2)),
        ("channels", ("ffn_hidden_size", 12290), Split(tp=4, world=4), Split(tp=2, world=2)),
        ("experts", ("moe.num_experts", 12), Split(ep=8, world=8), Split(ep=4, world=4)),
        ("layers", ("num_layers", 3), Split(pp=4, world=4), Split(pp=2, world=2)),
    ],
)
def test_every_rule_refuses_and_allows(rule, change, bad, good):
    row = next(one for one in RULES if one.name == rule)
    blueprint = with_fact(qwen3(), *change)
    assert not row.allows(blueprint, bad)
    assert row.allows(blueprint, good)
    assert row.reason


def test_every_rule_is_tested():
    assert {row.name for row in RULES} == {"heads", "groups", "channels", "experts", "layers"}


def test_a_model_without_experts_has_no_expert_parallelism():
    row = next(one for one in RULES if one.name == "experts")
    assert not row.allows(qwen3(), Split(ep=2, world=2))


def test_latent_attention_is_not_bound_by_key_value_heads():
    row = next(one for one in RULES if one.name == "groups")
    blueprint = with_fact(qwen3(), "num_query_groups", 1)
    assert not row.allows(blueprint, Split(tp=2, world=2))
    assert row.allows(with_fact(blueprint, "mla.kv_rank", 512), Split(tp=2, world=2))


@pytest.mark.parametrize("blueprint", [qwen3(), mixture()], ids=["dense", "mixture"])
@pytest.mark.parametrize("task", ["pretrain", "sft", "peft", "inference"])
def test_the_choice_fits_and_fewer_gpus_would_not(blueprint, task):
    """Checked by trying every layout of half as many GPUs."""
    size = model_size(blueprint)
    choice = choose(blueprint, size, task, 4096)
    assert choice.memory.fits and choice.memory.total <= BUDGET
    assert all(rule.allows(blueprint, choice.split) for rule in RULES)
    half = choice.split.world // 2
    sizes = (1, 2, 4, 8, 16, 32, 64)
    for tp in sizes[:4] if half else ():
        for pp in sizes[:5]:
            for ep in sizes:
                if half % (tp * pp) == 0 and half % (pp * ep) == 0:
                    split = Split(tp, pp, ep, half, recompute=True)
                    if all(rule.allows(blueprint, split) for rule in RULES):
                        assert not estimate(size, split, task, 4096).fits


def test_known_models_get_layouts_that_people_use():
    """Eight billion parameters train on four H100 and take adapters on one."""
    blueprint = qwen3()
    worlds = {
        task: choose(blueprint, model_size(blueprint), task, seq).split.world
        for task, seq in (("pretrain", 4096), ("sft", 2048), ("peft", 2048))
    }
    assert worlds == {"pretrain": 4, "sft": 4, "peft": 1}


def test_a_model_that_nothing_holds_says_so():
    blueprint = qwen3()
    size = dataclasses.replace(model_size(blueprint), dense=10**15)
    assert not choose(blueprint, size, "pretrain", 4096).memory.fits


def test_layers_that_do_not_divide_are_told():
    blueprint = with_fact(qwen3(), "num_query_groups", 1)
    blueprint = with_fact(blueprint, "num_layers", 37)
    size = dataclasses.replace(model_size(blueprint), num_layers=37)
    assert not choose(blueprint, size, "pretrain", 4096).even


def test_a_batch_keeps_every_stage_of_every_replica_busy():
    assert global_batch_size(Split(tp=2, world=4), 32) == 32
    assert global_batch_size(Split(tp=2, pp=4, world=256), 32) == 128


@pytest.mark.parametrize(
    ("name", "total", "active", "token"),
    [
        ("Qwen/Qwen3-8B", 8.19e9, None, "8b"),
        ("Qwen/Qwen3-0.6B", 0.596e9, None, "600m"),
        ("Qwen/Qwen3-1.7B", 1.72e9, None, "1p7b"),
        ("Qwen/Qwen3-30B-A3B", 30.5e9, 3.35e9, "30b_a3b"),
        ("mistralai/Mixtral-8x7B-v0.1", 46.7e9, 12.9e9, "47b_a13b"),
        ("deepseek-ai/DeepSeek-V3", 671e9, 37.5e9, "671b_a38b"),
        ("someone/never-trust-a-405B-name", 8.19e9, None, "8p2b"),
        ("a/b", 0.999e9, None, "1b"),
        ("a/b", 12e6, None, "12m"),
    ],
)
def test_a_size_is_told_as_published_where_the_count_agrees(name, total, active, token):
    size = model_size(qwen3())
    experts = int(total - active) if active else 0
    size = dataclasses.replace(size, embedding=0, dense=int(active or total), experts=experts, active_experts=0)
    assert size_token(size, name) == token


def test_names_are_those_that_the_launchers_look_for():
    assert canonical("qwen3_8b", "sft", 4) == "qwen3_8b_sft_4gpu_h100_bf16_config"
    assert alias("qwen3_8b", "sft") == "qwen3_8b_sft_config"
    assert recipe_stem("qwen3_moe", "30b_a3b") == "qwen3_30b_a3b"
    assert recipe_stem("qwen3_moe", "7b") == "qwen3_moe_7b"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("state", ("delta.layers", [True] * 36)),
        ("own attention", ("attention.softcap", 50.0)),
        ("positions", ("position.kind", "alibi")),
    ],
)
def test_sequences_are_packed_unless_something_is_in_the_way(name, change):
    row = next(one for one in OBSTACLES if one.name == name)
    blueprint = with_fact(qwen3(), *change)
    blocks = choose_blocks(blueprint)
    assert row.holds(blueprint, blocks)
    assert not row.holds(qwen3(), choose_blocks(qwen3()))
