"""What the generated things are called: made of the checked architecture and model_type, never of free text."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.targets.megatron_bridge.blocks import naming_of
from scaffold_tools.targets.megatron_bridge.profile import Profile, Registration
from scaffold_tools.text import checked_identifier

_MODULE_DOTS = 4
"""`megatron.bridge.models.<family>.<module>`; a family in folders of its own is left alone."""


@dataclass(frozen=True)
class Names:
    """Names of one model's files and classes."""

    stem: str
    """`qwen3`: module names and paths."""
    prefix: str
    """`Qwen3`: class names, and what prose calls the model."""
    family: str
    """Folder under `models/`: an existing family where the model belongs to one."""
    package: str
    """`scaffold_qwen3`: the installable package."""
    bridge_class: str
    """`Qwen3Bridge`."""
    bridge_module: str
    """`qwen3_bridge`."""
    registered: bool = False
    """The checkout has this class in this module, so that its export lists are right already."""
    why: tuple[str, ...] = ()
    """What put the model into that family, where it is not one of its own."""


def names_of(blueprint: Blueprint, profile: Profile) -> Names:
    """Names for a blueprint.

    Raises:
        BadInput: the architecture or model_type cannot become names in code.
    """
    naming = naming_of(blueprint)
    stem = checked_identifier(naming.stem)
    checked_identifier(blueprint.architecture)
    own = profile.registration(blueprint.architecture)
    family, why = _family(blueprint, stem, profile)
    names = Names(
        stem=stem,
        prefix=naming.prefix,
        family=family,
        why=why,
        package=f"scaffold_{stem}",
        bridge_class=f"{naming.prefix}Bridge",
        bridge_module=f"{stem}_bridge",
    )
    if profile.layout == "package" or own is None or own.module.count(".") != _MODULE_DOTS:
        return names
    return replace(names, bridge_class=own.bridge, bridge_module=own.module.rsplit(".", 1)[-1], registered=True)


def _family(blueprint: Blueprint, stem: str, profile: Profile) -> tuple[str, tuple[str, ...]]:
    """The folder that a model belongs into, and why.

    The folder of the class that the target has; else the family whose name starts the model's and which has models of
    the same kind (a family of vision models takes no language model); else a folder of its own.
    """
    homes: dict[str, list[Registration]] = {}
    for row in profile.registrations:
        if row.module.count(".") >= _MODULE_DOTS:
            homes.setdefault(row.module.split(".")[3], []).append(row)
    own = profile.registration(blueprint.architecture)
    if own is not None and own.module.count(".") >= _MODULE_DOTS:
        return own.module.split(".")[3], ()
    kind = _kind(blueprint.architecture)
    alike = {
        name: relatives
        for name, rows in homes.items()
        if re.fullmatch(rf"{re.escape(name)}(\d|_|$).*", stem)
        and (relatives := [row for row in rows if _kind(row.architecture) == kind])
    }
    if not alike:
        return stem, ()
    family = max(alike, key=len)
    shown = ", ".join(sorted({row.bridge for row in alike[family]})[:3])
    return family, (f"models/{family} takes {stem}: that name starts it, and it has {kind} models ({shown})",)


def _kind(architecture: str) -> str:
    """What the class computes, as its name ends: `ForCausalLM`, `ForConditionalGeneration`."""
    found = re.search(r"For[A-Z][A-Za-z]*$", architecture)
    return found[0] if found else "other"
