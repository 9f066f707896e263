"""How every parameter is split over ranks: rules for `register_dist_config`, checked against what the checkout has.

The adapter looks names up in lists, in a fixed order, and takes a bias for the weight of its module. So whether a
preset is right for a model is decided here by the same look-up, and what it lacks or gets wrong is added.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from scaffold_tools.blueprint.facts import Gap
from scaffold_tools.targets.roll.presets import DistPreset
from scaffold_tools.targets.roll.profile import RollProfile

DUPLICATED, COLUMN, ROW, HALVES = (
    "duplicated_weights",
    "column_parallel_weights",
    "row_parallel_weights",
    "swiglu_weights",
)
ORDER = (HALVES, "gdn_weights", DUPLICATED, COLUMN, ROW)
"""The order in which `DistConverter.dist_convert` asks for the lists, after those of grouped experts."""

ROW_BIAS = ".row_bias"
"""What the model calls the bias of a row-parallel module towards the adapter, which would cut a `.bias` in pieces."""


GROUPED_BIASES = (".linear_fc1.bias", f".linear_fc2{ROW_BIAS}")
"""Biases of experts. A grouped parameter is looked up as the weight beside it, and named by itself."""


@dataclass(frozen=True)
class Kind:
    """One row: parameters whose name matches are split so."""

    pattern: str
    field: str
    why: str


_ATTENTION = r"\.self_attention\."
KINDS: tuple[Kind, ...] = (
    Kind(r"embedding\.word_embeddings\.weight|output_layer\.weight|head_bias\.bias", COLUMN, "sharded over the words"),
    Kind(r"embedding\.(position_embeddings|embedding_norm)\..*|head_transform\..*", DUPLICATED, "whole on every rank"),
    Kind(r".*\.(layer_norm_(weight|bias))", DUPLICATED, "a norm in front of a projection"),
    Kind(_ATTENTION + r"linear_qkv\.(weight|bias)", COLUMN, "sharded over query groups"),
    Kind(_ATTENTION + r"linear_gate\.(weight|bias)", COLUMN, "sharded over heads"),
    Kind(_ATTENTION + r"core_attention\.softmax_offset", COLUMN, "one number a head"),
    Kind(_ATTENTION + r"linear_q_proj\.weight|" + _ATTENTION + r"linear_(q|kv)_up_proj\.weight", COLUMN, "heads"),
    Kind(_ATTENTION + r"linear_(q|kv)_down_proj\.(weight|bias)", DUPLICATED, "megatron-core does not shard latents"),
    Kind(r".*\.(linear_proj|linear_fc2|out_proj|projection)\.weight", ROW, "sharded over what it takes"),
    Kind(r".*\.row_bias", DUPLICATED, "added once, after the sum over ranks"),
    Kind(r".*\.(linear_proj|linear_fc2)\.pre_layernorm\.weight", COLUMN, "a norm on what a rank has"),
    Kind(_ATTENTION + r"core_attention\.key_bias\.rate", COLUMN, "one number a head"),
    Kind(_ATTENTION + r"core_attention\.(lambda_\w+|difference_weight)", DUPLICATED, "shared by all heads"),
    Kind(_ATTENTION + r"core_attention\.indexer\..*", DUPLICATED, "every rank chooses keys for itself"),
    Kind(_ATTENTION + r"(A_log|dt_bias)", COLUMN, "one number a head"),
    Kind(_ATTENTION + r"out_norm\.weight", DUPLICATED, "shared by all heads"),
    Kind(r"\.(self_attn|mlp)_bda\.weight|\.mlp\.activation_func\..*", DUPLICATED, "whole on every rank"),
    Kind(r".*\.linear_fc1\.(weight|bias)", HALVES, "gate and up are sharded one by one"),
    Kind(r"\.mlp\.router\..*|\.mlp\.shared_experts\.gate_weight", DUPLICATED, "routers are whole on every rank"),
    Kind(r".*post_layernorm\.(weight|bias)|.*layernorm\.(weight|bias)", DUPLICATED, "a norm of its own"),
)
"""Read from top to bottom; the first that matches decides."""

PRE = re.compile(r"embedding\..*")
POST = re.compile(r"output_layer\..*|decoder\.final_layernorm\..*|head_bias\..*|head_transform\..*")


@dataclass(frozen=True)
class Distribution:
    """What to register."""

    presets: tuple[str, ...]
    """Names of presets, merged in this order."""
    own: tuple[tuple[str, tuple[str, ...]], ...]
    """(field of DistParallelConfig, names) beside them."""
    grouped: tuple[tuple[str, str], ...] = ()
    """(name in one expert, name of the grouped parameter) of biases, which presets do not know."""
    gaps: tuple[Gap, ...] = ()


def field_of(name: str, gated: bool) -> str | None:
    """How a parameter is split; None where no row knows."""
    row = next((row for row in KINDS if re.fullmatch(row.pattern, name)), None)
    if row is None:
        return None
    return COLUMN if row.field == HALVES and not gated else row.field


def distribute(
    names: Iterable[str],
    profile: RollProfile,
    *,
    gated: bool,
    latent: bool,
    shared: bool,
    known: tuple[tuple[str, str], ...] = (),
) -> Distribution:
    """Rules for the parameters of one model.

    Args:
        names: parameters, without the prefix of layer and expert.
        profile: what the checkout has ready.
        gated: whether the MLPs have two halves in linear_fc1.
        latent: whether attention is latent.
        shared: whether there is a shared expert.
        known: (name, field) of parameters that something else than their name tells of.
    """
    wanted = ["mla_dist_config" if latent else "default_dist_config", *(["shared_moe_dist_config"] if shared else [])]
    presets = [preset for name in wanted if (preset := profile.preset(name)) is not None]
    base = presets[0]
    for preset in presets[1:]:
        base = base.merged(preset)
    own: dict[str, list[str]] = {}
    gaps: list[Gap] = []
    names = tuple(dict.fromkeys(names))
    for name in names:
        field = dict(known).get(name) or field_of(name, gated)
        if field is None:
            gaps.append(_unknown(name))
            continue
        found = resolve(base, name, gated)
        if found != field:
            key = _looked_up(name)
            if found is not None and ORDER.index(found) < ORDER.index(field):
                gaps.append(_shadowed(name, field, found, base))
            own.setdefault(field, []).append(key)
        for stage, pattern in (("pre_process_weights", PRE), ("post_process_weights", POST)):
            if pattern.fullmatch(name) and not base.holds(stage, name):
                own.setdefault(stage, []).append(name)
    rows = tuple((field, tuple(dict.fromkeys(listed))) for field, listed in own.items())
    grouped = tuple((name, f".mlp.experts{name}") for name in GROUPED_BIASES if name in names and gated)
    return Distribution(tuple(preset.name for preset in presets), rows, grouped, tuple(gaps))


def resolve(preset: DistPreset, name: str, gated: bool) -> str | None:
    """The list in which `DistConverter.dist_convert` finds a parameter; None: it raises an error."""
    key = _looked_up(name)
    fields = ORDER if gated else ORDER[1:]
    return next((field for field in fields if preset.holds(field, key)), None)


def _looked_up(name: str) -> str:
    return name.replace(".bias", ".weight") if name.endswith(".bias") else name


def _unknown(name: str) -> Gap:
    return Gap(
        name,
        "nothing says how this parameter is split over tensor-parallel ranks",
        write_what="the parameter in a list of the DistParallelConfig of the model's package",
        check="scaffold verify: the model on two tensor-parallel ranks",
    )


def _shadowed(name: str, field: str, found: str, preset: DistPreset) -> Gap:
    return Gap(
        name,
        f"{preset.name} has it among {found}, which the adapter asks before {field}",
        write_what="a DistParallelConfig of the model's own, without that preset",
        check="scaffold verify: the model on two tensor-parallel ranks",
    )
