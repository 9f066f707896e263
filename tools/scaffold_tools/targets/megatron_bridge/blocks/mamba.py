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
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
"""Keys of the number of experts."""
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
        formula = expression(blueprint, "mamba.layers")
        listed = formula if isinstance(formula, PerLayer) else None
        value = None if listed else [bool(flag) for flag in blueprint.value("mamba.layers")]
        fields.append(
            ProviderField("mamba_layers", "list[bool] | None", "None", listed, value, "Which layers are state space.")
        )
    if _without_mlp(blueprint) == "some":
        formula = expression(blueprint, "mlp.layers")
        listed = formula if isinstance(formula, PerLayer) else None
        value = None if listed else [bool(flag) for flag in blueprint.value("mlp.layers")]
        fields.append(
            ProviderField("mlp_layers", "list[bool] | None", "None", listed, value, "Which layers have an MLP.")
        )
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


def _without_mlp(blueprint: Blueprint) -> str:
    flags = blueprint.value("mlp.layers")
    if not isinstance(flags, list) or all(flags):
        return "none"
    return "some" if any(flags) else "all"


def _says_no_experts(blueprint: Blueprint) -> bool:
    """The base bridge would hand the 0 on, which megatron-core refuses."""
    return any(use.key in EXPERTS and use.value == 0 and type(use.value) is int for use in blueprint.keys)


def _settings(blueprint: Blueprint) -> list[ProviderSetting]:
    rows = [ProviderSetting("num_moe_experts", None, Const(None), comment="the config says 0")]
    rows = rows if _says_no_experts(blueprint) else []
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
    bare = _without_mlp(blueprint)
    features += {"none": [], "some": ["some_bare_layers"], "all": ["bare_layers"]}[bare]
    names = ()
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
            *("mamba.norm_groups", "mamba.norm_eps", "mamba.step_limit", *MULTIPLIERS, "mlp.layers"),
        ),
        has_mamba,
        _part,
    ),
)
