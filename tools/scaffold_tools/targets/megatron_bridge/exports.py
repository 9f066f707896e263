"""The way back: what `megatron_to_hf_config` has to add so that the exported config means what the original meant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scaffold_tools.blueprint.facts import Blueprint, Rounded
from scaffold_tools.render.literals import python_literal
from scaffold_tools.targets.megatron_bridge.emission import inverse, plain_key, table_name
from scaffold_tools.targets.megatron_bridge.profile import Profile
from scaffold_tools.targets.megatron_bridge.rules import Setting, activation_key

YARN = {
    "factor": "rotary_scaling_factor",
    "original_max_position_embeddings": "original_max_position_embeddings",
    "beta_fast": "beta_fast",
    "beta_slow": "beta_slow",
    "mscale": "mscale",
    "mscale_all_dim": "mscale_all_dim",
}
"""Key -> attribute of latent attention (MLA_ROPE_SCALING_MAPPING of the base bridge); of others, behind `yarn_`."""

Export = tuple[str, str | None]
"""(Hugging Face key, code over `provider` and the config made so far; None takes out what CONFIG_MAPPING wrote)."""


def config_exports(blueprint: Blueprint, profile: Profile, settings: Sequence[Setting]) -> tuple[Export, ...]:
    """Keys that CONFIG_MAPPING does not write, or writes under another name."""
    rows: dict[str, str | None] = {}
    mapped = {setting.config_key for setting in settings} | {key for key, _ in profile.config_mapping}
    whole = {use.key for use in blueprint.keys if type(use.value) is int}
    for setting in settings:
        back = None if setting.config_key else _back(setting, whole)
        for key, code in (*setting.exports, *([back] if back else [])):
            if key not in mapped:
                rows.setdefault(key, code)
        rows |= _of_a_formula(setting, profile, back)
    rows.update(_as_it_was(blueprint, profile, settings))
    if activation_key(blueprint)[0] == "hidden_activation":
        rows["hidden_activation"] = 'hf_config.pop("hidden_act")'
    if "rope_parameters" not in mapped:
        rows.update(_rope(blueprint, settings))
    return tuple(rows.items())


def _of_a_formula(setting: Setting, profile: Profile, back: Export | None) -> dict[str, str | None]:
    """The key of a formula, where CONFIG_MAPPING would write the result instead: half a width, or a rounded one.

    What was rounded cannot be told from the result, so the key is left to the config that export starts from.
    """
    own = {key for key, attribute in profile.config_mapping if attribute == setting.attribute}
    if isinstance(setting.expression, Rounded) and setting.expression.width in own:
        return {setting.expression.width: None}
    if back is not None and back[0] in own and back[1] != f"provider.{setting.attribute}":
        return {back[0]: back[1]}
    return {}


def _as_it_was(blueprint: Blueprint, profile: Profile, settings: Sequence[Setting]) -> dict[str, str | None]:
    """Keys that CONFIG_MAPPING would write from an attribute that they did not give.

    Where the model leaves a key empty and another one gave the attribute, it stays empty; where the attribute is None
    whatever the key says (a count of experts that no layer has), the key keeps what it said, unless the setting says
    what it means now.
    """
    given = {setting.attribute for setting in settings if not setting.config_key}
    none = {setting.attribute: dict(setting.exports) for setting in settings if setting.code == "None"}
    read = {use.key: use.value for use in blueprint.keys if use.read_by_code}
    every = {use.key: use.value for use in blueprint.keys}
    rows: dict[str, str | None] = {}
    for key, attribute in profile.config_mapping:
        if key in read and read[key] is None and attribute in given:
            rows[key] = "None"
        elif every.get(key) is not None and attribute in none:
            rows[key] = none[attribute].get(key) or python_literal(every[key])
    return rows


def _back(setting: Setting, whole: set[str]) -> tuple[str, str] | None:
    """The inverse of an assignment; transformers checks types, so whole numbers come back as whole numbers."""
    back = inverse(setting.expression, f"provider.{setting.attribute}")
    if back is None or back[0] not in whole or back[1] == f"provider.{setting.attribute}":
        return back
    return back[0], f"round({back[1]})"


def _rope(blueprint: Blueprint, settings: Sequence[Setting]) -> dict[str, str]:
    """The whole rope dict, where theta alone (which CONFIG_MAPPING writes) is not all there is to it."""
    sets: list[dict[str, Any]] = list(blueprint.value("rope.sets") or [])
    if not sets or (len(sets) == 1 and sets[0].get("type") == "default" and "." not in str(sets[0].get("config_key"))):
        return {}
    if not all(row.get("config_key") for row in sets):  # keys of other names, which go back one by one
        return own_bases(sets) if len(sets) > 1 else {}
    attributes = {plain_key(setting.expression): setting.attribute for setting in settings}
    if len(sets) == 1 and sets[0].get("type") == "yarn":
        prefix = "" if blueprint.value("mla.kv_rank") is not None else "yarn_"
        attributes |= {f"{sets[0]['config_key']}.{name}": prefix + attribute for name, attribute in YARN.items()}
    if len(sets) == 1 and "." not in str(sets[0].get("config_key")):
        return {"rope_parameters": _rope_dict(sets[0], attributes, main=True)}
    labels = [str(row.get("config_key")).rsplit(".", 1)[-1] for row in sets]
    main = "full_attention" if "full_attention" in labels else labels[0]
    inner = ", ".join(
        f"{python_literal(label)}: {_rope_dict(row, attributes, main=label == main)}"
        for label, row in zip(labels, sets, strict=True)
    )
    return {"rope_parameters": "{" + inner + "}"}


def own_bases(sets: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The keys that hold one base each, from the tables of the provider."""
    named = [(row.get("theta_key"), table_name(index)) for index, row in enumerate(sets)]
    return {key: f'provider.rope_parameters["{name}"]["rope_theta"]' for key, name in named if key and "." not in key}


def _rope_dict(row: dict[str, Any], attributes: dict[str | None, str], *, main: bool) -> str:
    home = row.get("config_key") or "rope_parameters"
    parameters = {"rope_theta": row.get("theta"), **(row.get("parameters") or {})}
    items = {"rope_type": python_literal(row.get("type"))}
    for name, value in parameters.items():
        attribute = attributes.get(f"{home}.{name}") or ("rotary_base" if main and name == "rope_theta" else None)
        if name not in ("rope_type", "type"):
            items[name] = f"provider.{attribute}" if attribute else python_literal(value)
    return "{" + ", ".join(f"{python_literal(name)}: {code}" for name, code in items.items()) + "}"
