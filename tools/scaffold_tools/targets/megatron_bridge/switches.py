"""One bridge for sizes of a family whose flags are different: rows for tensors that this size does not have.

A flag is followed where both ways were measured, the same blocks express both, and all that differs in the code is an
attribute that is the flag, and rows of the registry. Of any other flag the code is for this model's value alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from scaffold_tools.blueprint.facts import Blueprint, Gap, Product, Switch, Term
from scaffold_tools.targets.megatron_bridge.blocks import BlockPlan, choose_blocks
from scaffold_tools.targets.megatron_bridge.mapping_rows import Fused, Rename
from scaffold_tools.targets.megatron_bridge.mappings import Mappings, map_roles
from scaffold_tools.targets.megatron_bridge.profile import Profile
from scaffold_tools.targets.megatron_bridge.rows import Setting, assign
from scaffold_tools.targets.megatron_bridge.rules import settle


@dataclass(frozen=True)
class Code:
    """What a bridge is made of."""

    settings: tuple[Setting, ...]
    mappings: Mappings
    flags: Mapping[str, bool] = field(default_factory=dict)
    """Flags that it is right for both ways, with the values that this model does not have."""


def follow(blueprint: Blueprint, profile: Profile, blocks: BlockPlan, code: Code) -> Code:
    """The code of one model, made right for the other values of its flags where that is possible."""
    for switch in blueprint.switches:
        other = blueprint.switched(switch)
        if choose_blocks(other) != blocks:
            continue
        settings = _both_settings((blueprint, other), switch, profile, blocks, code.settings)
        mappings = _both_mappings(other, switch, blocks, code.mappings)
        if settings is None or mappings is None:
            continue
        code = Code(settings, mappings, {**code.flags, switch.key: switch.value})
        # Rows of the next flag come beside those of this one.
        blueprint = replace(blueprint, roles=(*blueprint.roles, *switch.roles))
    return code


def _both_settings(
    sizes: tuple[Blueprint, Blueprint],
    switch: Switch,
    profile: Profile,
    blocks: BlockPlan,
    settings: tuple[Setting, ...],
) -> tuple[Setting, ...] | None:
    """Attributes that differ become the flag; None where one is something else, or the other size has a gap."""
    here, there = (settle(one, profile, blocks.covered_facts) for one in sizes)
    if not _said(there.gaps) <= _said(here.gaps):
        return None
    ours, theirs = ({row.attribute: row.code for row in one.settings} for one in (here, there))
    found = {row.attribute: row for row in settings}
    for attribute in {**ours, **theirs}:
        codes = (ours.get(attribute, "False"), theirs.get(attribute, "False"))
        if codes[0] == codes[1]:
            continue
        if codes != (str(not switch.value), str(switch.value)):
            return None
        found.pop(attribute, None)
        if (switch.key, attribute) not in profile.config_mapping:
            found[attribute] = assign(attribute, Product((Term(switch.key),)), sizes[0], profile)
    return tuple(found.values())


def _both_mappings(other: Blueprint, switch: Switch, blocks: BlockPlan, mappings: Mappings) -> Mappings | None:
    """Rows of both sizes; None where one parameter would need two rows."""
    theirs = map_roles(other, blocks.megatron_names)
    if not _said(theirs.gaps) <= _said(mappings.gaps):
        return None
    more, fewer = (theirs, mappings) if switch.roles else (mappings, theirs)
    rows = _rows(more)
    return more if all(rows.get(name) == row for name, row in _rows(fewer).items()) else None


def _rows(mappings: Mappings) -> dict[str, Rename | Fused]:
    rows: list[Rename | Fused] = [*mappings.renames, *mappings.fused]
    return {row.megatron: row for row in rows}


def _said(gaps: Sequence[Gap]) -> set[tuple[str, str]]:
    return {(gap.subject, gap.reason) for gap in gaps}
