"""What the generated things are called: made of the checked architecture and model_type, never of free text."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.targets.megatron_bridge.blocks import naming_of
from scaffold_tools.targets.megatron_bridge.profile import Profile
from scaffold_tools.text import checked_identifier


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

    @property
    def bridge_class(self) -> str:
        """`Qwen3Bridge`."""
        return f"{self.prefix}Bridge"

    @property
    def bridge_module(self) -> str:
        """`qwen3_bridge`."""
        return f"{self.stem}_bridge"


def names_of(blueprint: Blueprint, profile: Profile) -> Names:
    """Names for a blueprint.

    Raises:
        BadInput: the architecture or model_type cannot become names in code.
    """
    naming = naming_of(blueprint)
    stem = checked_identifier(naming.stem)
    checked_identifier(blueprint.architecture)
    return Names(stem, naming.prefix, _family(blueprint, stem, profile), f"scaffold_{stem}")


def _family(blueprint: Blueprint, stem: str, profile: Profile) -> str:
    """The folder of the class that the target has; else the family whose name starts the model's; else its own."""
    known = {row.module.split(".")[3] for row in profile.registrations if row.module.count(".") >= 4}
    own = profile.registration(blueprint.architecture)
    if own is not None and own.module.count(".") >= 4:
        return own.module.split(".")[3]
    words = [name for name in known if re.fullmatch(rf"{re.escape(name)}(\d|_|$).*", stem)]
    return max(words, key=len, default=stem)
