"""A provider of a family has by itself what its bridge sets for every config, and nothing that a config decides."""

from __future__ import annotations

from scaffold_tools.targets.megatron_bridge.blocks import BlockPlan, Naming, ProviderField
from scaffold_tools.targets.megatron_bridge.context import provider_defaults
from scaffold_tools.targets.megatron_bridge.rows import Setting
from targets.blueprints import qwen3, with_fact

BLOCKS = BlockPlan(Naming("Tide", "tide"))


UNPLACED = with_fact(qwen3(), "position.kind", "none")


def names(*settings: Setting, blocks: BlockPlan = BLOCKS) -> list[str]:
    return [row["name"] for row in provider_defaults(UNPLACED, settings, blocks)]


def test_words_and_switches_are_defaults_of_the_class() -> None:
    rows = provider_defaults(
        UNPLACED, [Setting("normalization", '"RMSNorm"'), Setting("qk_layernorm", "True")], BLOCKS
    )
    assert rows == [
        {"name": "normalization", "annotation": "str", "code": '"RMSNorm"'},
        {"name": "qk_layernorm", "annotation": "bool", "code": "True"},
    ]


def test_what_a_config_decides_is_none() -> None:
    assert not names(
        Setting("add_qkv_bias", "hf_config.use_qkv_bias"),
        Setting("moe_router_pre_softmax", "not hf_config.norm_topk_prob"),
        Setting("add_bias_linear", "hf_config.mlp_bias", config_key="mlp_bias"),
        Setting("autocast_dtype", "torch.bfloat16"),
    )


def test_a_number_may_be_that_of_one_size() -> None:
    assert not names(Setting("softmax_scale", "0.125"), Setting("mtp_num_layers", "None"), Setting("window", "(1, 0)"))


def test_fields_of_blocks_and_specs_are_told_elsewhere() -> None:
    own = BlockPlan(Naming("Tide", "tide"), provider_fields=(ProviderField("keeps", "bool", "False", "why"),))
    assert names(Setting("keeps", "True"), Setting("transformer_layer_spec", "'x'"), blocks=own) == []
    assert names(Setting("keeps", "True")) == ["keeps"]


def test_the_last_value_of_an_attribute_counts() -> None:
    twice = [Setting("normalization", '"RMSNorm"'), Setting("normalization", '"LayerNorm"')]
    assert [row["code"] for row in provider_defaults(UNPLACED, twice, BLOCKS)] == ['"LayerNorm"']


def test_rotary_embeddings_are_what_the_base_bridge_would_set() -> None:
    rows = provider_defaults(qwen3(), [], BLOCKS)
    assert [(row["name"], row["code"]) for row in rows] == [("position_embedding_type", '"rope"')]
    learned = [Setting("position_embedding_type", '"learned_absolute"')]
    assert provider_defaults(UNPLACED, learned, BLOCKS)[0]["code"] == '"learned_absolute"'
