"""State space layers of Mamba 2 in the place of attention or beside it: megatron-core's own mixer in a layer.

Stock megatron-core gives the gated norm the epsilon 1e-5 and one mean square per state group, whatever the model has.
"""

from __future__ import annotations

from scaffold_tools.blueprint.facts import Blueprint, Const, Gap
from scaffold_tools.targets.megatron_bridge.blocks.facts import differs_from, expression, has, same
from scaffold_tools.targets.megatron_bridge.blocks.mixers import COVERS, shared_part
from scaffold_tools.targets.megatron_bridge.blocks.model import BlockRow, Naming, Part, ProviderField
from scaffold_tools.targets.megatron_bridge.mamba_rules import has_mamba, stands_beside

_PARITY = "scaffold verify: logits.max_abs"
_MIXER_PY = "megatron/core/ssm/mamba_mixer.py"
PARTS = ("z", "x", "B", "C", "dt")
MULTIPLIERS = tuple(f"mamba.multiplier.{part}" for part in PARTS)


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
    return fields + [
        ProviderField(
            f"mamba_{part}_multiplier",
            "float",
            "1.0",
            expression(blueprint, name),
            blueprint.value(name),
            f"Factor on {part}, a part of what the input projection of state space layers gives.",
        )
        for part, name in zip(PARTS, MULTIPLIERS, strict=True)
        if _has_multipliers(blueprint)
    ]


def _has_multipliers(blueprint: Blueprint) -> bool:
    return any(differs_from(blueprint, name, 1.0) for name in MULTIPLIERS)


def _has_norm(blueprint: Blueprint) -> bool:
    return blueprint.value("mamba.norm") != "none"


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
    )
    what = f"in megatron-core's {_MIXER_PY}, or a mixer of its own in the modeling module"
    return tuple(Gap(subject, reason, write_what=what, check=_PARITY) for holds, subject, reason in rows if holds)


def _features(blueprint: Blueprint) -> tuple[str, ...]:
    """What the mixer itself does."""
    features = ["mamba_multipliers"] if _has_multipliers(blueprint) else []
    features += ["mamba_norm"] if _has_norm(blueprint) else []
    if _has_norm(blueprint) and not same(blueprint, "mamba.norm_eps", "norm.eps"):
        features.append("mamba_norm_eps")
    whole = blueprint.value("mamba.norm_groups") == "one"
    if _has_norm(blueprint) and whole and expression(blueprint, "mamba.groups") != Const(1):
        features.append("mamba_norm_whole")
    return tuple(features)


def _part(blueprint: Blueprint, naming: Naming) -> Part:
    shared = shared_part(blueprint, "mamba", "Which layers are state space.")
    return Part(
        features=(*shared.features, *_features(blueprint)),
        fields=(*_fields(blueprint), *shared.fields),
        settings=shared.settings,
        names=shared.names,
        gaps=(*_gaps(blueprint), *shared.gaps),
    )


FACTORS = (
    ("mamba.input_multiplier", "mamba_input_multiplier", "Factor on the input of state space layers."),
    ("mamba.output_multiplier", "mamba_output_multiplier", "Factor on the output of state space layers."),
)
"""(fact, provider field, comment) of layers with two mixers."""
PRE_NORM = ("norm.pre_attn", "decoder.layers.*.input_layernorm")


def _beside(blueprint: Blueprint, naming: Naming) -> Part:
    used = [(name, field, comment) for name, field, comment in FACTORS if differs_from(blueprint, name, 1.0)]
    return Part(
        features=("mamba_beside", *(field for _, field, _ in used), *_features(blueprint)),
        fields=(
            *_fields(blueprint),
            *(
                ProviderField(field, "float", "1.0", expression(blueprint, name), blueprint.value(name), comment)
                for name, field, comment in used
            ),
        ),
        names=(PRE_NORM,) if has(blueprint, "norm.pre_attn") else (),
        gaps=_gaps(blueprint),
    )


OWN_FACTS = (
    *("mamba.layers", "mamba.conv_width", "mamba.conv_bias", "mamba.proj_bias", "mamba.norm"),
    *("mamba.norm_groups", "mamba.norm_eps", "mamba.step_limit", *MULTIPLIERS),
)
ROWS: tuple[BlockRow, ...] = (
    BlockRow(
        "state space layers beside attention",
        "layers of megatron-core have one mixer; here attention and Mamba 2 take one norm and are added",
        ("mamba.beside", *(name for name, _, _ in FACTORS), *OWN_FACTS),
        stands_beside,
        _beside,
    ),
    BlockRow(
        "state space layers",
        "megatron-core has Mamba 2 in stacks of its own; here it takes attention's place in transformer layers",
        (*OWN_FACTS, *COVERS),
        lambda blueprint: has_mamba(blueprint) and not stands_beside(blueprint),
        _part,
    ),
)
