"""One bridge is right for sizes of a family whose flags are different, or says of which it is not."""

from __future__ import annotations

import dataclasses

from scaffold_tools.blueprint.facts import Blueprint, Const, Fact, Switch, TensorRole
from scaffold_tools.targets.megatron_bridge.blocks import choose_blocks
from scaffold_tools.targets.megatron_bridge.mappings import map_roles
from scaffold_tools.targets.megatron_bridge.profile import Profile
from scaffold_tools.targets.megatron_bridge.rules import settle
from scaffold_tools.targets.megatron_bridge.switches import Code, follow
from targets.blueprints import fact, key, qwen3, role, with_fact, with_key
from targets.test_rules import PROFILE

READS_THE_FLAG = dataclasses.replace(
    PROFILE, config_mapping=(*PROFILE.config_mapping, ("use_qk_norm", "qk_layernorm"))
)
BIASES = tuple(
    role(f"attn.{name}", f"model.layers.*.self_attn.{name}_proj.bias", (1024,), "bias") for name in ("q", "k", "v")
)
UNNORMED = tuple(row for row in qwen3().roles if row.role not in ("norm.q", "norm.k"))
NORMS = tuple(row for row in qwen3().roles if row.role in ("norm.q", "norm.k"))
QKV_BIAS = "decoder.layers.*.self_attention.linear_qkv.bias"
Q_NORM = "decoder.layers.*.self_attention.q_layernorm.weight"


def with_switch(
    blueprint: Blueprint, name: str, value: bool, facts: tuple[Fact, ...], roles: tuple[TensorRole, ...] = ()
) -> Blueprint:
    switch = Switch(name, value, facts, (), roles)
    return with_key(dataclasses.replace(blueprint, switches=(*blueprint.switches, switch)), name, not value)


def followed(blueprint: Blueprint, profile: Profile = PROFILE) -> Code:
    blocks = choose_blocks(blueprint)
    settings = settle(blueprint, profile, blocks.covered_facts).settings
    return follow(blueprint, profile, blocks, Code(settings, map_roles(blueprint, blocks.megatron_names)))


def parameters(code: Code) -> set[str]:
    return {row.megatron for row in code.mappings.renames} | {row.megatron for row in code.mappings.fused}


def attribute(code: Code, name: str) -> str | None:
    return next((row.code for row in code.settings if row.attribute == name), None)


def biased() -> Blueprint:
    """Without biases; those of q, k and v follow a flag."""
    own = with_fact(qwen3(), "bias.o", False, Const(False))
    return with_switch(own, "attention_bias", True, (fact("bias.qkv", True, key("attention_bias")),), BIASES)


def unnormed(blueprint: Blueprint) -> Blueprint:
    """Without q/k norms, which follow a flag."""
    off = with_fact(blueprint, "qk_norm.kind", "none", Const("none"))
    off = dataclasses.replace(off, roles=UNNORMED)
    return with_switch(off, "use_qk_norm", True, (fact("qk_norm.kind", "per_head", Const("per_head")),), NORMS)


def test_biases_of_other_sizes_have_a_row() -> None:
    code = followed(biased())
    assert code.flags == {"attention_bias": True}
    assert QKV_BIAS in parameters(code)
    assert QKV_BIAS not in parameters(followed(dataclasses.replace(biased(), switches=())))
    assert code.settings == settle(biased(), PROFILE).settings, "the base bridge reads the flag already"


def test_a_flag_that_the_provider_cannot_express_is_not_followed() -> None:
    """A bias of the output projection alone: add_bias_linear would give the MLP one, too."""
    facts = (fact("bias.qkv", True, key("attention_bias")), fact("bias.o", True, key("attention_bias")))
    code = followed(with_switch(qwen3(), "attention_bias", True, facts, BIASES))
    assert not code.flags and QKV_BIAS not in parameters(code)


def test_an_attribute_that_differs_becomes_the_flag() -> None:
    code = followed(unnormed(qwen3()))
    assert code.flags == {"use_qk_norm": True} and Q_NORM in parameters(code)
    assert attribute(code, "qk_layernorm") == "hf_config.use_qk_norm"
    assert attribute(followed(unnormed(qwen3()), READS_THE_FLAG), "qk_layernorm") is None, "the base bridge reads it"


def test_a_size_that_has_the_tensors_does_not_force_them_on_others() -> None:
    facts = (fact("qk_norm.kind", "none", Const("none")),)
    own = with_switch(qwen3(), "use_qk_norm", False, facts)
    assert attribute(followed(own), "qk_layernorm") == "hf_config.use_qk_norm"
    assert attribute(followed(own, READS_THE_FLAG), "qk_layernorm") is None
    assert Q_NORM in parameters(followed(own))
    without = dataclasses.replace(own, switches=())
    assert attribute(followed(without, READS_THE_FLAG), "qk_layernorm") == "True", "nobody measured the other way"


def test_flags_are_followed_one_beside_the_other() -> None:
    code = followed(unnormed(biased()))
    assert set(code.flags) == {"attention_bias", "use_qk_norm"}
    assert {QKV_BIAS, Q_NORM} <= parameters(code)


def test_a_flag_that_changes_a_setting_into_something_else_is_not_followed() -> None:
    facts = (fact("norm.kind", "layernorm", Const("layernorm")), fact("norm.bias", True, Const(True)))
    code = followed(with_switch(qwen3(), "use_layer_norm", True, facts))
    assert not code.flags and attribute(code, "normalization") == "'RMSNorm'".replace("'", '"')


def test_a_flag_that_needs_another_block_is_not_followed() -> None:
    facts = (fact("qk_norm.kind", "full", Const("full")),)
    assert choose_blocks(with_fact(qwen3(), *_named(facts[0]))) != choose_blocks(qwen3())
    assert not followed(with_switch(qwen3(), "norm_all_heads", True, facts)).flags


def _named(one: Fact) -> tuple[str, object, object]:
    return one.name, one.value, one.expression
