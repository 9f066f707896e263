"""Which blocks follow from which facts, and what a plan tells the bridge."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from scaffold_tools.blueprint.facts import Blueprint, Const, KeyUse, PerLayer, TensorRole
from scaffold_tools.blueprint.vocabulary import FACT_NAMES, ROLE_NAMES
from scaffold_tools.errors import BadInput
from scaffold_tools.targets.megatron_bridge.blocks import choose_blocks, naming_of
from scaffold_tools.targets.megatron_bridge.blocks.choose import ROWS
from targets.blocks.models import LAYERS, MODELS, Model, llama, role, rope_set
from targets.blueprints import key, qwen3

BLOCKS: dict[str, set[str]] = {
    "gemma": {"embedding multiplier"},
    "gemma2": {
        "embedding multiplier", "logits softcap", "norm after attention", "norm after MLP", "attention softcap",
    },
    "gemma3_text": {"embedding multiplier", "norm after attention", "norm after MLP", "rotary tables"},
    "granite": {"embedding multiplier", "residual multiplier", "logits multiplier"},
    "olmo2": {
        "norm after attention", "norm after MLP", "no norm before attention", "no norm before MLP",
        "q/k norm over all heads",
    },
    "olmo": {"norm without bias or weight", "clipped projections"},
    "llama3": {"rotary tables"},
    "llama_attention_bias": {"attention output bias"},
    "nemotron": set(),
    "starcoder2": set(),
    "cohere": {"logits multiplier", "norm without bias or weight", "parallel attention and MLP"},
    "phi": {"head bias", "parallel attention and MLP"},
    "hunyuan": {"q/k norm after the rotation", "attention output bias"},
    "mpt": {"norm without bias or weight", "ALiBi"},
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_a_model_gets_the_blocks_that_it_needs_and_no_other(name: str) -> None:
    plan = choose_blocks(MODELS[name]().blueprint)
    assert {block.name for block in plan.blocks} == BLOCKS[name]
    assert plan.gaps == ()
    assert (plan.provider_class is not None) == bool(BLOCKS[name])


def test_a_stock_model_gets_nothing() -> None:
    plan = choose_blocks(qwen3())
    assert plan.blocks == () and not plan.modeling_needed and plan.provider_class is None
    assert plan.provider_fields == () and plan.megatron_names == {} and plan.layer_spec is None


def test_rows_speak_the_words_of_the_vocabulary() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert {fact for row in ROWS for fact in row.covers} <= FACT_NAMES
    for make in MODELS.values():
        names = choose_blocks(make().blueprint).megatron_names
        assert {name.removesuffix(".bias") for name in names} <= ROLE_NAMES


def test_every_row_is_shown_by_a_model() -> None:
    shown = {block.name for make in MODELS.values() for block in choose_blocks(make().blueprint).blocks}
    elsewhere = {
        "activation", "q/k norm unlike the layer norms", "no fused activation", "learned positions",
        "no query, key and value bias", "latent attention", "router", "norm after experts", "state space layers",
        "gated delta net",
        "embedding norm", "numbered positions", "sinusoidal positions", "query temperature", "chunked attention",
        "gate on the attention output", "router softcap",
        "activation with parameters",
        "norm before the output projection", "norms on the residual stream", "attention output bias in some layers",
        "norm before attention in some layers", "final norm with its own epsilon", "no final norm",
        "state space layers beside attention", "attention input multiplier", "attention output multiplier",
        "mlp output multiplier", "activation of a scaled gate",
        "Mamba 1 layers", "gated short convolutions", "linear recurrent units", "gated delta nets of its own",
        "linear attention with constant decays", "residual after the norm",
        "sparse attention", "sparse mixer", "linear before the head", "bias of keys",
        "differential attention", "learned factors on the residual", "factor on experts",
    }  # fmt: skip
    assert {row.name for row in ROWS} - shown == elsewhere


def plan_of(model: Model | Blueprint) -> Any:
    return choose_blocks(model.blueprint if isinstance(model, Model) else model)


def settings(plan: Any) -> dict[str, Any]:
    return {row.name: row.value for row in plan.provider_settings}


def test_a_multiplier_that_is_one_here_but_a_config_value_still_gets_its_block() -> None:
    model = MODELS["granite"]().with_fact("residual.multiplier", 1.0, key("residual_multiplier"))
    assert "residual multiplier" in {block.name for block in plan_of(model).blocks}
    model = model.with_fact("residual.multiplier", 1.0, Const(1.0))
    assert "residual multiplier" not in {block.name for block in plan_of(model).blocks}


def test_a_field_carries_the_expression_of_its_fact() -> None:
    fields = {field.name: field for field in plan_of(MODELS["granite"]()).provider_fields}
    assert fields["logits_multiplier"].expression == key("logits_scaling", -1.0)


def test_scaled_rope_switches_the_stock_scaling_off() -> None:
    found = settings(plan_of(MODELS["llama_yarn"]()))
    assert found["position_embedding_type"] == "rope"
    assert found["yarn_rotary_scaling_factor"] is None and found["rope_scaling"] is False


def test_layers_without_rotation_follow_the_key_that_tells_them() -> None:
    (row,) = [row for row in plan_of(MODELS["exaone4"]()).provider_settings if row.name == "no_rope_freq"]
    assert row.value == [0, 1, 0, 1, 0, 1]
    assert row.expression == PerLayer("layer_types", (("full_attention", Const(1)), ("sliding_attention", Const(0))))


def test_linear_rope_alone_is_stock_and_beside_another_table_is_not() -> None:
    assert plan_of(llama({"rope_type": "linear", "factor": 4.0})).blocks == ()
    assert "rotary tables" in {block.name for block in plan_of(MODELS["gemma3_text"]()).blocks}


def test_windows_of_one_size_are_stock() -> None:
    model = MODELS["starcoder2"]()
    assert plan_of(model).blocks == ()
    windows = PerLayer("layer_types", (("a", key("small")), ("b", key("large"))))
    plan = plan_of(model.with_fact("attention.window", [64, 128] * 3, windows))
    assert [block.name for block in plan.blocks] == ["windows of several sizes"]
    assert "attention.window" in plan.covered_facts


def test_unlike_eps_is_told_by_expressions_not_by_numbers() -> None:
    model = MODELS["gemma3_text"]()
    assert not any(field.name == "qk_layernorm_epsilon" for field in plan_of(model).provider_fields)
    plan = plan_of(model.with_fact("qk_norm.eps", 1e-6, key("qk_norm_eps")))
    assert any(field.name == "qk_layernorm_epsilon" for field in plan.provider_fields)


def test_tanh_gelu_is_never_fused() -> None:
    assert settings(plan_of(MODELS["starcoder2"]()))["bias_activation_fusion"] is False
    assert "bias_activation_fusion" not in settings(plan_of(MODELS["granite"]()))


def test_an_activation_of_its_own_becomes_a_public_function() -> None:
    plan = plan_of(MODELS["granite"]().with_fact("mlp.activation", "mish", Const("mish")))
    (row,) = [row for row in plan.provider_settings if row.name == "activation_func"]
    assert row.symbol == "granite_activation"


def with_role(blueprint: Blueprint, *roles: TensorRole) -> Blueprint:
    return dataclasses.replace(blueprint, roles=(*blueprint.roles, *roles))


def gap_subjects(plan: Any) -> list[str]:
    return [gap.subject for gap in plan.gaps]


def test_what_has_no_block_is_a_gap() -> None:
    granite, gemma2, gemma3 = (MODELS[name]() for name in ("granite", "gemma2", "gemma3_text"))
    cases = [
        (granite.with_fact("mlp.activation", "xielu", Const("xielu")).blueprint, "mlp.activation"),
        (granite.with_fact("mlp.activation", "wobble", Const("wobble")).blueprint, "mlp.activation"),
        (with_role(gemma2.blueprint, role("attn.sinks", LAYERS + "self_attn.sinks", (16,), "other")), "attn.sinks"),
        (with_role(gemma2.blueprint, role("moe.expert.down", LAYERS + "mlp.experts.down", (1,))), "moe.expert.down"),
        (llama({"rope_type": "spiral"}).blueprint, "rope.sets"),
        (MODELS["olmo2"]().with_fact("qk_norm.after_rope", True, Const(True)).blueprint, "qk_norm.kind"),
        (gemma3.with_fact("rope.sets", [rope_set([0], "linear", ""), rope_set([1])]).blueprint, "rope.sets"),
    ]  # fmt: skip
    for blueprint, subject in cases:
        assert subject in gap_subjects(plan_of(blueprint)), subject
    assert [gap_subjects(plan_of(model)) for model in (granite, gemma2, gemma3)] == [[], [], []]


def test_tables_are_named_by_layer_types_even_where_the_config_class_computes_them() -> None:
    model = MODELS["gemma3_text"]()
    keys = tuple(use for use in model.blueprint.keys if use.key != "layer_types")
    plan = plan_of(dataclasses.replace(model.blueprint, keys=keys))
    assert next(field for field in plan.provider_fields if field.name == "layer_types").expression == key(
        "layer_types"
    )


def test_layer_types_that_do_not_name_the_tables_are_a_gap() -> None:
    model = MODELS["gemma3_text"]()
    keys = tuple(use for use in model.blueprint.keys if use.key != "layer_types")
    keys = (*keys, KeyUse("layer_types", ["full_attention"] * 6, None, None))
    plan = plan_of(dataclasses.replace(model.blueprint, keys=keys))
    assert gap_subjects(plan) == ["rope.sets"] and "rope.sets" not in plan.covered_facts


def test_names_come_from_the_architecture() -> None:
    assert naming_of(MODELS["gemma3_text"]().blueprint).stem == "gemma3"
    odd = dataclasses.replace(qwen3(), architecture="os; rm")
    with pytest.raises(BadInput, match="class name"):
        naming_of(odd)


def test_layers_without_rotation_follow_a_list_of_numbers_too() -> None:
    model = MODELS["exaone4"]()
    keys = tuple(use for use in model.blueprint.keys if use.key != "layer_types")
    keys = (*keys, KeyUse("no_rope_layers", [1, 0, 1, 0, 1, 0], None, None))
    plan = plan_of(dataclasses.replace(model.blueprint, keys=keys))
    (row,) = [row for row in plan.provider_settings if row.name == "no_rope_freq"]
    assert row.expression == PerLayer("no_rope_layers", (("0", Const(1)), ("1", Const(0))))
