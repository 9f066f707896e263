"""What the generated things are called: made of the checked architecture and model_type, never of free text."""

from __future__ import annotations

from dataclasses import dataclass

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.targets.megatron_bridge.blocks import naming_of
from scaffold_tools.targets.roll.loaded_types import loaded_type
from scaffold_tools.targets.roll.profile import ADAPTER, RollProfile
from scaffold_tools.text import checked_identifier


@dataclass(frozen=True)
class Names:
    """Names of one model's files and classes."""

    stem: str
    """`qwen3`: modules and files."""
    prefix: str
    """`Qwen3`: classes, and what prose calls the model."""
    model_type: str
    """What it is registered for: the type of the loaded config."""
    family: str
    """Package below `mcore_adapter.models`."""
    package: str
    """What has to be imported: `mcore_adapter.models.qwen3`, or `scaffold_roll_qwen3` beside ROLL."""
    folder: str
    """Where its modules are written, relative to the root of the plan."""
    parent: str
    """What stands before `auto.config_auto` in imports: `..`, or `mcore_adapter.models.` outside."""

    def module(self, name: str) -> str:
        """File of one module of the package."""
        return f"{self.folder}/{name}.py"


def names_of(blueprint: Blueprint, profile: RollProfile) -> Names:
    """Names for a blueprint.

    Raises:
        BadInput: the architecture or model_type cannot become names in code.
    """
    naming = naming_of(blueprint)
    stem = checked_identifier(naming.stem)
    checked_identifier(blueprint.architecture)
    model_type = loaded_type(profile.site_packages, blueprint.model_type)
    if not profile.edits:
        package = f"scaffold_roll_{stem}"
        parent = "mcore_adapter.models."
        return Names(stem, naming.prefix, model_type, stem, package, package, parent)
    own = profile.registration(model_type)
    known = own is not None and own.module.count(".") == 2
    family = own.module.rpartition(".")[2] if own is not None and known else stem
    folder = (ADAPTER / "models" / family).as_posix()
    package = f"mcore_adapter.models.{family}"
    return Names(stem, naming.prefix, model_type, family, package, folder, "..")
