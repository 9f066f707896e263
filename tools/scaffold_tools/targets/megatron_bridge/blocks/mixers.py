"""Layers whose mixer is not attention: what all kinds of them have in common, and those that the family brings along.

A mixer stands in attention's place inside a transformer layer, so experts, norms and multipliers work unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from scaffold_tools.blueprint.facts import Blueprint, Const, Gap, PerLayer
from scaffold_tools.targets.megatron_bridge.blocks.facts import expression, has, key
from scaffold_tools.targets.megatron_bridge.blocks.model import BlockRow, Naming, Part, ProviderField, ProviderSetting
from scaffold_tools.targets.megatron_bridge.mixer_rules import MIXER, NORM_APART, everywhere, only_beside_attention

HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
"""Keys from which the base bridge may take attention heads, which megatron-core divides by even without attention."""
EXPERTS = (
    ("num_local_experts", "num_moe_experts"),
    ("num_experts", "num_moe_experts"),
    ("n_routed_experts", "num_moe_experts"),
    ("moe_num_experts", "num_moe_experts"),
    ("moe_intermediate_size", "moe_ffn_hidden_size"),
    ("n_group", "moe_router_num_groups"),
    ("topk_group", "moe_router_group_topk"),
)
"""(key, provider attribute) of experts in the base bridge's CONFIG_MAPPING."""
TOP_K = ("num_experts_per_tok", "moe_topk", "moe_top_k")
"""Keys from which the base bridge takes the number of experts a token."""
LISTS = (
    ("mlp.layers", "mlp_layers", "Which layers have an MLP or experts."),
    ("mixer.layers", "mixer_layers", "Which layers mix positions."),
)
"""(fact, provider field, comment)."""
COVERS = ("mlp.layers", "mixer.layers", "norm.pre_attn.layers", "norm.pre_mlp.layers")


def shared_part(blueprint: Blueprint, kind: str, comment: str) -> Part:
    """What every layer stack with mixers of a kind needs.

    Args:
        kind: beginning of the names of its facts; also the name of its feature and of the function of its spec.
        comment: what the field that says which layers have it is about.
    """
    all_layers = everywhere(blueprint, kind)
    features = ["mixer", kind] if all_layers else ["mixer", kind, f"{kind}_some"]
    features += {"none": [], "some": ["some_bare_layers"], "all": ["bare_layers"]}[missing(blueprint, "mlp.layers")]
    features += ["lone_mlps"] if missing(blueprint, "mixer.layers") == "some" else []
    names: tuple[tuple[str, str], ...] = ()
    alone = only_beside_attention(blueprint)
    features += ["mixer_pre_norms"] if alone else []
    if (all_layers or alone) and has(blueprint, "norm.pre_attn"):
        names = (("norm.pre_attn", MIXER + "in_proj.layer_norm_{param}"),)
    fields = [] if all_layers else [listed(blueprint, f"{kind}.layers", f"{kind}_layers", comment)]
    fields += [listed(blueprint, fact, name, said) for fact, name, said in LISTS if missing(blueprint, fact) == "some"]
    settings = _settings(blueprint, all_layers)
    gaps = _norm_gaps(blueprint) if alone else ()
    return Part(features=tuple(features), fields=tuple(fields), settings=tuple(settings), names=names, gaps=gaps)


def _norm_gaps(blueprint: Blueprint) -> tuple[Gap, ...]:
    """Norms that some layers lack come in one arrangement: before mixers and their MLPs, after attention and its."""
    usual = blueprint.value("norm.pre_mlp.layers") == "recurrent"
    if usual and has(blueprint, "norm.post_attn") and has(blueprint, "norm.post_mlp"):
        return ()
    what = "the norms of each kind of layer, in the block spec of the modeling module"
    return (Gap("norm.pre_attn.layers", "norms in some layers alone", write_what=what),)


def listed(blueprint: Blueprint, fact: str, name: str, comment: str) -> ProviderField:
    """One flag a layer, by a key with one label a layer where there is one."""
    formula = expression(blueprint, fact)
    by_key = formula if isinstance(formula, PerLayer) else None
    value = None if by_key else [bool(flag) for flag in blueprint.value(fact)]
    return ProviderField(name, "list[bool] | None", "None", by_key, value, comment)


def missing(blueprint: Blueprint, fact: str) -> str:
    """`none`, `some` or `all` layers do without."""
    flags = blueprint.value(fact)
    if not isinstance(flags, list) or all(flags):
        return "none"
    return "some" if any(flags) else "all"


def _unused(blueprint: Blueprint) -> list[str]:
    """What the base bridge hands on from keys of experts, though no layer has any: megatron-core refuses that."""
    if blueprint.value("moe.num_experts") is not None:
        return []
    keys = {use.key for use in blueprint.keys if type(use.value) is int}
    return list(dict.fromkeys(name for key, name in EXPERTS if key in keys))


def _settings(blueprint: Blueprint, all_layers: bool) -> list[ProviderSetting]:
    rows = [ProviderSetting(name, None, Const(None), comment="no layer has experts") for name in _unused(blueprint)]
    one = any(use.key in TOP_K and use.value == 1 for use in blueprint.keys)
    if one and blueprint.value("moe.num_experts") is None:
        comment = "megatron-core refuses a choice of one, though no layer has experts"
        rows.append(ProviderSetting("moe_router_topk", 2, Const(2), comment=comment))
    if any(use.key == "residual_in_fp32" and use.value for use in blueprint.keys):
        rows.append(ProviderSetting("fp32_residual_connection", expression=key("residual_in_fp32")))
    if not all_layers:
        comment = "layers have different parameters"
        return [*rows, ProviderSetting("hetereogenous_dist_checkpoint", True, comment=comment)]
    rows.append(ProviderSetting("position_embedding_type", "none", comment="no layer attends"))
    if not any(use.key in HEADS and use.key != "num_heads" for use in blueprint.keys):
        rows.append(
            ProviderSetting("num_attention_heads", 1, comment="megatron-core divides by them, though no layer attends")
        )
    return rows


class FieldRow(NamedTuple):
    """A fact that is a field of the provider, and an attribute of the config that the mixer reads."""

    fact: str
    name: str
    annotation: str
    default: str
    comment: str


class MixerRow(NamedTuple):
    """A mixer that the family brings along, since megatron-core has none of its kind."""

    kind: str
    """Beginning of its facts and roles, its feature, and the template in `blocks/`."""
    what: str
    reason: str
    fields: tuple[FieldRow, ...]
    constants: tuple[str, ...]
    """Facts that the template is told, not the config."""
    features: Callable[[Blueprint], tuple[str, ...]]


def _selective_features(blueprint: Blueprint) -> tuple[str, ...]:
    norm = {"none": (), "bare": ("selective_norm",), "weighted": ("selective_norm", "selective_norm_weights")}
    first = ("selective_gate_first",) if blueprint.value("selective.gate_first") else ()
    return (*norm[str(blueprint.value("selective.norm"))], *first)


MIXERS: tuple[MixerRow, ...] = (
    MixerRow(
        "selective",
        "Mamba 1 layers",
        "kernels and mixer of megatron-core are Mamba 2's, with one decay a head",
        (
            FieldRow("selective.inner", "selective_inner", "int", "0", "Channels of a Mamba 1 layer."),
            FieldRow("selective.state_dim", "selective_state_dim", "int", "16", "State of one channel."),
            FieldRow("selective.rank", "selective_rank", "int", "0", "Rank of the steps."),
            FieldRow("selective.conv_width", "selective_conv_width", "int", "4", "Taps of the causal convolution."),
            FieldRow("selective.conv_bias", "selective_conv_bias", "bool", "True", "Bias of the convolution."),
            FieldRow("selective.proj_bias", "selective_proj_bias", "bool", "False", "Biases of in_proj and out_proj."),
            FieldRow(
                "selective.norm_eps", "selective_norm_epsilon", "float", "1e-6", "Epsilon of step, B and C norms."
            ),
        ),
        ("selective.gate_first", "selective.norm"),
        _selective_features,
    ),
    MixerRow(
        "short_conv",
        "gated short convolutions",
        "megatron-core has no convolution that mixes positions by itself",
        (
            FieldRow("short_conv.channels", "short_conv_channels", "int", "0", "Channels of a short convolution."),
            FieldRow("short_conv.conv_width", "short_conv_width", "int", "3", "Taps of a short convolution."),
            FieldRow("short_conv.bias", "short_conv_bias", "bool", "False", "Biases of it and its projections."),
        ),
        ("short_conv.gate_place",),
        lambda blueprint: (f"short_conv_gate_{blueprint.value('short_conv.gate_place')}",),
    ),
    MixerRow(
        "lru",
        "linear recurrent units",
        "megatron-core has no gated linear recurrence of single channels",
        (
            FieldRow("lru.width", "lru_width", "int", "0", "Channels of a linear recurrent unit."),
            FieldRow("lru.heads", "lru_heads", "int", "1", "Blocks of channels that each of its gates sees."),
            FieldRow("lru.conv_width", "lru_conv_width", "int", "4", "Taps of the causal convolution."),
            FieldRow("lru.bias", "lru_bias", "bool", "True", "Biases of the projections and the convolution."),
            FieldRow("lru.power", "lru_power", "float", "8.0", "Power of the decay gate."),
        ),
        ("lru.activation",),
        lambda blueprint: (f"lru_{blueprint.value('lru.activation')}",),
    ),
    MixerRow(
        "lightning",
        "linear attention with constant decays",
        "megatron-core has no linear attention whose decay is a constant of the head",
        (
            FieldRow("lightning.width", "lightning_width", "int", "0", "Channels of all heads of linear attention."),
            FieldRow("lightning.heads", "lightning_heads", "int", "1", "Heads of linear attention."),
            FieldRow("lightning.block", "lightning_block_size", "int", "256", "Positions that are computed at once."),
            FieldRow("lightning.norm_eps", "lightning_norm_epsilon", "float", "1e-6", "Epsilon of its output norm."),
        ),
        ("lightning.activation",),
        lambda blueprint: (f"lightning_{blueprint.value('lightning.activation')}",),
    ),
)


def _field(blueprint: Blueprint, row: FieldRow) -> ProviderField:
    return ProviderField(
        row.name, row.annotation, row.default, expression(blueprint, row.fact), blueprint.value(row.fact), row.comment
    )


_APART = (("norm.pre_attn", "decoder.layers.*.input_layernorm"),)


def _part(row: MixerRow) -> Callable[[Blueprint, Naming], Part]:
    def build(blueprint: Blueprint, naming: Naming) -> Part:
        shared = shared_part(blueprint, row.kind, f"Which layers are {row.what}.")
        fields = [_field(blueprint, one) for one in row.fields if blueprint.fact(one.fact) is not None]
        return Part(
            features=(*shared.features, "own_mixer", *row.features(blueprint)),
            fields=(*fields, *shared.fields),
            settings=shared.settings,
            names=_APART if row.kind in NORM_APART and has(blueprint, "norm.pre_attn") else shared.names,
            gaps=(*_gaps(blueprint, row), *shared.gaps),
        )

    return build


def _gaps(blueprint: Blueprint, row: MixerRow) -> tuple[Gap, ...]:
    others = [one.kind for one in MIXERS if one.kind != row.kind and has_mixer(blueprint, one.kind)]
    if not others and not any(blueprint.value("mamba.layers") or ()):
        return ()
    what = "the mixers of both kinds on one base in the modeling module"
    return (Gap(f"{row.kind}.layers", "mixers of several kinds in one model", write_what=what),)


def has_mixer(blueprint: Blueprint, kind: str) -> bool:
    """Whether some layer has a mixer of the kind."""
    return any(blueprint.value(f"{kind}.layers") or ())


def _row(row: MixerRow) -> BlockRow:
    covers = (f"{row.kind}.layers", *(one.fact for one in row.fields), *row.constants, *COVERS)
    return BlockRow(row.what, row.reason, covers, lambda blueprint: has_mixer(blueprint, row.kind), _part(row))


ROWS: tuple[BlockRow, ...] = tuple(_row(row) for row in MIXERS)
