"""What a config counts and nothing converts: the base bridge would believe the key and build it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.targets.megatron_bridge.profile import Profile
from scaffold_tools.targets.megatron_bridge.rows import Setting


@dataclass(frozen=True)
class Counted:
    """An attribute that stays None although the config has a number for it."""

    attribute: str
    absent: Callable[[Blueprint], bool]
    """Whether no tensor of the blueprint would fill what the attribute builds."""
    comment: str
    """May name the key."""
    exported: str | None = None
    """Code for the key in the config that is exported; None where it keeps what it said."""


def _no_experts(blueprint: Blueprint) -> bool:
    """A model whose MLP is known, and has neither tensors nor facts of experts."""
    names = [*(row.role for row in blueprint.roles), *(fact.name for fact in blueprint.facts)]
    return blueprint.fact("mlp.gated") is not None and not any(name.startswith("moe.") for name in names)


ROWS: tuple[Counted, ...] = (
    Counted("num_moe_experts", _no_experts, "no layer has experts, although {key} counts some"),
    # Hugging Face classes have no such layers, so no role stands for their tensors. Built all the same they would
    # be trained from random numbers, and no tensor of theirs exported.
    Counted("mtp_num_layers", lambda _: True, "multi-token prediction layers are not converted", exported="0"),
)


def not_built(blueprint: Blueprint, profile: Profile) -> tuple[Setting, ...]:
    """Settings against what the base bridge would derive from keys of this config."""
    values = {use.key: use.value for use in blueprint.keys}
    settings = []
    for row in ROWS:
        keys = [key for key, attribute in profile.config_mapping if attribute == row.attribute and values.get(key)]
        if keys and row.absent(blueprint):
            exports = tuple((key, row.exported) for key in keys) if row.exported is not None else ()
            settings.append(Setting(row.attribute, "None", row.comment.format(key=keys[0]), exports=exports))
    return tuple(settings)
