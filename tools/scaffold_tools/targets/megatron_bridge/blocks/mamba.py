"""State space layers of Mamba 2 in the place of attention: megatron-core's own mixer inside a transformer layer.

Stock megatron-core gives the gated norm the epsilon 1e-5 and one mean square per state group, whatever the model has.
"""

from __future__ import annotations

from scaffold_tools.blueprint.facts import Blueprint, Const, Gap, PerLayer
from scaffold_tools.targets.megatron_bridge.blocks.facts import expression, has, key, same
from scaffold_tools.targets.megatron_bridge.blocks.model import BlockRow, Naming, Part, ProviderField, ProviderSetting
from scaffold_tools.targets.megatron_bridge.mamba_rules import MIXER, has_mamba, mamba_everywhere

_PARITY = "scaffold verify: logits.max_abs"
_MIXER_PY = "megatron/core/ssm/mamba_mixer.py"
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
LISTS = (
    ("mlp.layers", "mlp_layers", "Which layers have an MLP or experts."),
    ("mixer.layers", "mixer_layers", "Which layers mix positions."),
)
"""(fact, provider field, comment)."""
MULTIPLIERS = tuple(f"mamba.multiplier.{part}" for part in ("z", "x", "B", "C", "dt"))


def _fields(blueprint: Blueprint) -> list[ProviderField]:
    fields = [
        ProviderField(
            "mamba_conv_width",
            "int",
            "4",
            expression(blueprint, "mamba.conv_width"),
            blueprint.value("mamba.conv_width"),
            "Taps of the causal convolution of state space layers.",
        )
    ]
    if not mamba_everywhere(blueprint):
        fields.append(_listed(blueprint, "mamba.layers", "mamba_layers", "Which layers are state space."))
    fields += [
        _listed(blueprint, fact, name, comment) for fact, name, comment in LISTS if _missing(blueprint, fact) == "some"
    ]
    if _has_norm(blueprint) and not same(blueprint, "mamba.norm_eps", "norm.eps"):
        fields.append(
            ProviderField(
                "mamba_norm_epsilon",
                "float",
                "1e-5",
                expression(blueprint, "mamba.norm_eps"),
                blueprint.value("mamba.norm_eps"),
                "Epsilon of the gated norm of state space layers.",
            )
        )
    return fields


def _has_norm(blueprint: Blueprint) -> bool:
    return blueprint.value("mamba.norm") != "none"


def _listed(blueprint: Blueprint, fact: str, name: str, comment: str) -> ProviderField:
    """One flag a layer, by a key with one label a layer where there is one."""
    formula = expression(blueprint, fact)
    listed = formula if isinstance(formula, PerLayer) else None
    value = None if listed else [bool(flag) for flag in blueprint.value(fact)]
    return ProviderField(name, "list[bool] | None", "None", listed, value, comment)


def _missing(blueprint: Blueprint, fact: str) -> str:
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


def _settings(blueprint: Blueprint) -> list[ProviderSetting]:
    rows = [ProviderSetting(name, None, Const(None), comment="no layer has experts") for name in _unused(blueprint)]
    if any(use.key == "residual_in_fp32" and use.value for use in blueprint.keys):
        rows.append(ProviderSetting("fp32_residual_connection", expression=key("residual_in_fp32")))
    if not mamba_everywhere(blueprint):
        comment = "layers have different parameters"
        return [*rows, ProviderSetting("hetereogenous_dist_checkpoint", True, comment=comment)]
    rows.append(ProviderSetting("position_embedding_type", "none", comment="no layer attends"))
    if not any(use.key in HEADS and use.key != "num_heads" for use in blueprint.keys):
        rows.append(
            ProviderSetting("num_attention_heads", 1, comment="megatron-core divides by them, though no layer attends")
        )
    return rows


def _gaps(blueprint: Blueprint) -> tuple[Gap, ...]:
    """What megatron-core's mixer does not do."""
    limit = blueprint.value("mamba.step_limit") or [0.0, None]
    rows = (
        (
            blueprint.value("mamba.norm") == "before_gate",
            "mamba.norm",
            "the norm acts before the gate; MambaMixer asserts `not self.norm_before_gate`",
        ),
        (
            not blueprint.value("mamba.conv_bias"),
            "mamba.conv_bias",
            "the convolution has no bias; MambaMixer asserts `conv_bias` and always makes one",
        ),
        (
            bool(blueprint.value("mamba.proj_bias")),
            "mamba.proj_bias",
            "the projections have biases; MambaMixer asserts `not bias`",
        ),
        (
            float(limit[0]) > 0.0 or limit[1] is not None,
            "mamba.step_limit",
            f"steps are clamped to {limit}; MambaMixer passes no dt_limit to its kernels",
        ),
        (
            any(blueprint.value(name) not in (None, 1, 1.0) for name in MULTIPLIERS),
            "mamba.multiplier",
            "the parts of the input projection are scaled one by one; MambaMixer has no such factors",
        ),
    )
    what = f"in megatron-core's {_MIXER_PY}, or a mixer of its own in the modeling module"
    return tuple(Gap(subject, reason, write_what=what, check=_PARITY) for holds, subject, reason in rows if holds)


def _part(blueprint: Blueprint, naming: Naming) -> Part:
    features = ["mamba"]
    features += [] if mamba_everywhere(blueprint) else ["mamba_some"]
    features += ["mamba_norm"] if _has_norm(blueprint) else []
    if _has_norm(blueprint) and not same(blueprint, "mamba.norm_eps", "norm.eps"):
        features.append("mamba_norm_eps")
    whole = blueprint.value("mamba.norm_groups") == "one"
    if _has_norm(blueprint) and whole and expression(blueprint, "mamba.groups") != Const(1):
        features.append("mamba_norm_whole")
    features += {"none": [], "some": ["some_bare_layers"], "all": ["bare_layers"]}[_missing(blueprint, "mlp.layers")]
    features += ["lone_mlps"] if _missing(blueprint, "mixer.layers") == "some" else []
    names: tuple[tuple[str, str], ...] = ()
    if mamba_everywhere(blueprint) and has(blueprint, "norm.pre_attn"):
        names = (("norm.pre_attn", MIXER + "in_proj.layer_norm_{param}"),)
    return Part(
        features=tuple(features),
        fields=tuple(_fields(blueprint)),
        settings=tuple(_settings(blueprint)),
        names=names,
        gaps=_gaps(blueprint),
    )


ROWS: tuple[BlockRow, ...] = (
    BlockRow(
        "state space layers",
        "megatron-core has Mamba 2 in stacks of its own; here it takes attention's place in transformer layers",
        (
            *("mamba.layers", "mamba.conv_width", "mamba.conv_bias", "mamba.proj_bias", "mamba.norm"),
            *("mamba.norm_groups", "mamba.norm_eps", "mamba.step_limit", *MULTIPLIERS, "mlp.layers", "mixer.layers"),
        ),
        has_mamba,
        _part,
    ),
)
