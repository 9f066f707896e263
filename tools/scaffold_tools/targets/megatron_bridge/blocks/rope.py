"""Rotary tables that megatron-core's own classes cannot produce: scaled with real factors, or several in one model.

megatron-core fixes llama3's low, high and original length, rounds YaRN differently, and has one table for all layers.
The formulas are transformers' own (`modeling_rope_utils.ROPE_INIT_FUNCTIONS`), called with the values of the config.
"""

from __future__ import annotations

from typing import Any

from scaffold_tools.blueprint.facts import Blueprint, Chosen, Const, Gap, PerLayer
from scaffold_tools.render.literals import python_literal
from scaffold_tools.targets.megatron_bridge.blocks.facts import expression, key, per_layer_choice
from scaffold_tools.targets.megatron_bridge.blocks.mla import is_latent
from scaffold_tools.targets.megatron_bridge.blocks.model import (
    BlockRow,
    Naming,
    Part,
    ProviderField,
    ProviderSetting,
)
from scaffold_tools.targets.megatron_bridge.emission import chosen_tables, config_path, table_name

KNOWN_TYPES = frozenset({"default", "linear", "dynamic", "yarn", "longrope", "llama3", "proportional"})
STOCK_TYPES = frozenset({"default", "linear"})
"""As the only table of a model, `rotary_base` and `seq_len_interpolation_factor` express these."""
LENGTH_DEPENDENT = frozenset({"dynamic", "longrope"})
"""The frequencies follow from the length of the sequence."""
SCALES_ATTENTION = frozenset({"yarn", "longrope"})
"""cos and sin are multiplied by an attention factor."""
USES_MAX_POSITIONS = frozenset({"dynamic", "yarn", "longrope", "llama3"})


def rope_sets(blueprint: Blueprint) -> list[dict[str, Any]]:
    """The value of `rope.sets`, empty where the model does not rotate."""
    if blueprint.value("position.kind", "rope") != "rope":
        return []
    return list(blueprint.value("rope.sets") or [])


def is_reversed(blueprint: Blueprint) -> bool:
    """Whether angles fall with the position."""
    return blueprint.value("rope.reversed") is True


def _needs_own_tables(blueprint: Blueprint) -> bool:
    if is_latent(blueprint):
        return False
    sets = rope_sets(blueprint)
    return (
        len(sets) > 1 or is_reversed(blueprint) or any(one.get("type", "default") not in STOCK_TYPES for one in sets)
    )


def _part(blueprint: Blueprint, naming: Naming) -> Part:
    sets = rope_sets(blueprint)
    types = {str(one.get("type", "default")) for one in sets}
    gaps = _unknown_types(types) + _unknown_layout(blueprint, sets)
    if is_reversed(blueprint) and types != {"default"}:
        gaps += (Gap("rope.reversed", f"rope of type {', '.join(sorted(types))} that turns the other way"),)
    if gaps:
        return Part(gaps=gaps, covers=())
    features = ["rope"]
    if len(sets) > 1:
        features.append("rope_sets")
    if types & LENGTH_DEPENDENT:
        features.append("rope_by_length")
    if types & SCALES_ATTENTION:
        features.append("rope_attention_factor")
    if len(sets) > 1 and "yarn" in types:
        features.append("rope_truncate")
    if any((one.get("parameters") or {}).get("alpha") for one in sets):
        features.append("rope_alpha")
    if is_reversed(blueprint):
        features.append("rope_reversed")
    if (own := _own_bases(blueprint, sets)) is not None:
        return Part(features=tuple(features), fields=own, settings=_settings(blueprint, sets))
    root = str(sets[0]["config_key"]).rpartition(".")[0] if len(sets) > 1 else str(sets[0]["config_key"])
    fields = [
        ProviderField(
            "rope_parameters",
            "dict[str, Any] | None",
            "None",
            key(root),
            comment="Rotary parameters as in the Hugging Face config, by kind of layer."
            if len(sets) > 1
            else "Rotary parameters as in the Hugging Face config.",
        )
    ]
    if len(sets) > 1:
        labels = key(_label_key(blueprint, sets) or "layer_types")
        fields.append(ProviderField("layer_types", "list[str] | None", "None", labels, comment="Kind of every layer."))
    if types & USES_MAX_POSITIONS:
        features.append("rope_max_positions")
        fields.append(
            ProviderField(
                "max_position_embeddings",
                "int | None",
                "None",
                key("max_position_embeddings"),
                comment="Longest position that the rotary formula is anchored to; not the training sequence length.",
            )
        )
    return Part(features=tuple(features), fields=tuple(fields), settings=_settings(blueprint, sets))


def _own_bases(blueprint: Blueprint, sets: list[dict[str, Any]]) -> tuple[ProviderField, ...] | None:
    """Fields of plain tables whose bases are keys (or numbers) of their own; None for other tables."""
    formula = expression(blueprint, "rope.sets")
    plain = all(one.get("type") == "default" and not one.get("config_key") for one in sets)
    rotated = sum(len(one["layers"]) for one in sets)
    if not plain or len(sets) < 2 or not isinstance(formula, Chosen | PerLayer):
        return None
    if rotated != int(blueprint.value("num_layers") or 0):
        return None
    bases = []
    for index, one in enumerate(sets):
        theta = config_path(one["theta_key"]) if one.get("theta_key") else python_literal(one["theta"])
        bases.append(f'{python_literal(table_name(index))}: {{"rope_type": "default", "rope_theta": {theta}}}')
    tables, layers = f"{{{', '.join(bases)}}}", chosen_tables(formula)
    words = "Rotary parameters of each table."
    return (
        ProviderField("rope_parameters", "dict[str, Any] | None", "None", comment=words, code=tables),
        ProviderField("layer_types", "list[str] | None", "None", comment="Table of every layer.", code=layers),
    )


def _settings(blueprint: Blueprint, sets: list[dict[str, Any]]) -> tuple[ProviderSetting, ...]:
    """Stock rope options off, or the scaling would act twice; NoPE layers by the stock option."""
    settings = [
        ProviderSetting("position_embedding_type", "rope"),
        ProviderSetting("rope_scaling", False),
        ProviderSetting("seq_len_interpolation_factor", None, Const(None)),
        ProviderSetting("yarn_rotary_scaling_factor", None, Const(None), comment="The rotary embedding applies it."),
    ]
    total = int(blueprint.value("num_layers") or 0)
    rotated = {layer for one in sets for layer in one["layers"]}
    flags = tuple(int(layer not in rotated) for layer in range(total))
    if any(flags):
        settings.append(ProviderSetting("no_rope_freq", list(flags), per_layer_choice(blueprint, flags)))
    return tuple(settings)


def _label_key(blueprint: Blueprint, sets: list[dict[str, Any]]) -> str | None:
    """The config key with one label a layer whose labels name the rope sets; None where there is no such key.

    transformers keys `rope_parameters` by the labels of `layer_types`, which many configs leave to the config class.
    """
    by_layer = {layer: str(one.get("config_key", "")).rpartition(".")[2] for one in sets for layer in one["layers"]}
    for use in blueprint.keys:
        labels = use.value
        per_layer = isinstance(labels, (list, tuple)) and len(labels) == blueprint.value("num_layers")
        if per_layer and all(labels[layer] == label for layer, label in by_layer.items()):
            return use.key
    declared = any(use.key == "layer_types" and use.value is not None for use in blueprint.keys)
    keyed = all(str(one.get("config_key")).startswith("rope_parameters.") for one in sets)
    return "layer_types" if keyed and not declared else None


def _unknown_types(types: set[str]) -> tuple[Gap, ...]:
    return tuple(
        Gap(
            "rope.sets",
            f"rope type {kind!r} is none of {', '.join(sorted(KNOWN_TYPES))}",
            write_what="its formula in the rotary embedding of the modeling module",
            check="scaffold verify: logits.max_abs",
        )
        for kind in sorted(types - KNOWN_TYPES)
    )


def _unknown_layout(blueprint: Blueprint, sets: list[dict[str, Any]]) -> tuple[Gap, ...]:
    if _own_bases(blueprint, sets) is not None:
        return ()
    if any(not one.get("config_key") for one in sets):
        return (
            Gap(
                "rope.sets",
                "no rope dict in the config object holds the parameters of this rotary table",
                write_what="the rope_parameters of the provider, in the bridge",
                check="scaffold verify: logits.max_abs",
            ),
        )
    if len(sets) > 1 and _label_key(blueprint, sets) is None:
        return (
            Gap(
                "rope.sets",
                "several rotary tables, and no per-layer config key names the table of each layer",
                write_what="layer_types of the provider, in the bridge: for each layer the key of its table",
                check="scaffold verify: logits.max_abs",
            ),
        )
    if len({len(one["inv_freq"]) for one in sets if one.get("inv_freq")}) > 1:
        return (
            Gap(
                "rope.sets",
                "rotary tables of different widths cannot travel through the decoder as one tensor",
                write_what="a rotary embedding for each layer, in the attention of the modeling module",
                check="scaffold verify: logits.max_abs",
            ),
        )
    return ()


ROWS: tuple[BlockRow, ...] = (
    BlockRow(
        "rotary tables",
        "megatron-core fixes the constants of scaled rope and has one rotary table for all layers",
        ("rope.sets", "rope.reversed"),
        _needs_own_tables,
        _part,
    ),
)
