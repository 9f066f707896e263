"""Layers at an end of the stack that lack what the others have."""

from __future__ import annotations

from scaffold_tools.blueprint.facts import Blueprint, Gap
from scaffold_tools.targets.megatron_bridge.blocks.attention import proj_bias_part
from scaffold_tools.targets.megatron_bridge.blocks.facts import has
from scaffold_tools.targets.megatron_bridge.blocks.model import BlockRow, Naming, Part, ProviderSetting
from scaffold_tools.targets.megatron_bridge.blocks.norms import is_plain

WITHOUT: dict[str, str] = {
    "first": "layer > 0",
    "last": "layer < config.num_layers - 1",
    "but_first": "layer == 0",
    "but_last": "layer == config.num_layers - 1",
}
"""Word for the layers that have something -> condition over `layer`, numbered from 0, of those that do not."""


CHECKPOINT = ProviderSetting(
    "hetereogenous_dist_checkpoint", True, comment="Layers have different parameters; checkpoints keep them apart."
)
"""megatron-core otherwise stores each parameter of all layers as one tensor, which then lacks some layers."""


def _proj_bias(blueprint: Blueprint, naming: Naming) -> Part:
    part = proj_bias_part(blueprint, naming)
    condition = WITHOUT[str(blueprint.value("bias.o.layers"))]
    return Part(
        features=(*part.features, "layer_exceptions", "some_proj_bias"),
        fields=part.fields,
        settings=(*part.settings, CHECKPOINT),
        module_types=part.module_types,
        values=(("without_proj_bias", condition),),
    )


def _input_norm(blueprint: Blueprint, naming: Naming) -> Part:
    other = has(blueprint, "mla.kv_b") or has(blueprint, "delta.A") or has(blueprint, "mamba.A")
    no_qkv_bias = blueprint.value("bias.mlp") is True and blueprint.value("bias.qkv") is False
    if (other or no_qkv_bias) and not is_plain(blueprint):
        reason = "some layers have no norm before attention, whose projections are fused with it"
        return Part(
            covers=(),
            gaps=(
                Gap(
                    "norm.pre_attn",
                    reason,
                    write_what="the projections without the norm, in the layer spec of the modeling module",
                    check="scaffold verify: logits.max_abs",
                ),
            ),
        )
    return Part(
        features=("layer_exceptions", "some_input_norms"),
        settings=(CHECKPOINT,),
        values=(("without_input_norm", WITHOUT[str(blueprint.value("norm.pre_attn.layers"))]),),
    )


ROWS: tuple[BlockRow, ...] = (
    BlockRow(
        "attention output bias in some layers",
        "megatron-core gives the attention output projection of every layer a bias, or of none",
        ("bias.o.layers", "bias.o", "bias.mlp", "bias.qkv"),
        lambda blueprint: blueprint.value("bias.o.layers") in WITHOUT,
        _proj_bias,
    ),
    BlockRow(
        "norm before attention in some layers",
        "the stock layer has a norm before attention everywhere",
        ("norm.pre_attn.layers",),
        lambda blueprint: blueprint.value("norm.pre_attn.layers") in WITHOUT,
        _input_norm,
    ),
)
