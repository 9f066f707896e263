"""All decisions for one model, before any text."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scaffold_tools.blueprint.facts import Blueprint, Gap
from scaffold_tools.targets.megatron_bridge.blocks import BlockPlan, choose_blocks
from scaffold_tools.targets.megatron_bridge.context import block_settings
from scaffold_tools.targets.roll.binding import Binding, bind
from scaffold_tools.targets.roll.converters import Converters, convert_roles
from scaffold_tools.targets.roll.distribution import HALVES, ROW_BIAS, Distribution, distribute
from scaffold_tools.targets.roll.gaps import block_gaps, quantised_gaps
from scaffold_tools.targets.roll.naming import Names, names_of
from scaffold_tools.targets.roll.profile import RollProfile
from scaffold_tools.targets.roll.rules import (
    INTERPOLATION,
    NOTHING_DERIVED,
    for_adapter,
    latent_settings,
    settle,
    training_settings,
    unused_sizes,
)

_MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_ROW_PARALLEL = re.compile(r"(linear_proj|linear_fc2|out_proj|projection)\.bias$")


@dataclass(frozen=True)
class Options:
    """What a plan depends on besides blueprint and profile."""

    model_id: str | None = None
    """`org/name` for documents, the blueprint's name by default; anything else: a placeholder."""
    revision: str | None = None
    """The 40-hex commit that the blueprint was made from."""


@dataclass(frozen=True)
class Design:
    """All decisions for one model, before any text."""

    blueprint: Blueprint
    profile: RollProfile
    names: Names
    blocks: BlockPlan
    binding: Binding
    converters: Converters
    distribution: Distribution
    latent: bool
    row_bias: bool
    infinite: bool
    """Whether the config has an infinite number, which transformers writes in a form that it does not take back."""
    appended: bool
    """Whether the template goes to the end of template.py, as in older checkouts."""
    replaces: bool
    """Whether a package beside ROLL takes the place of rules that ROLL refuses to register twice."""
    provenance: str
    model_id: str
    gaps: tuple[Gap, ...]


def design(blueprint: Blueprint, profile: RollProfile, options: Options) -> Design:
    """Decide everything for one model.

    Raises:
        BadInput: names that cannot be put into code.
    """
    names = names_of(blueprint, profile)
    blocks = choose_blocks(blueprint)
    latent = blueprint.value("mla.kv_rank") is not None
    known = profile.fields(latent)
    own = frozenset(row.name for row in blocks.provider_fields)
    settlement = settle(blueprint, profile, blocks.covered_facts)
    rows = (
        *training_settings(blueprint),
        *unused_sizes(blueprint),
        *settlement.settings,
        *block_settings(blocks, blueprint, NOTHING_DERIVED),
        *latent_settings(blueprint),
    )
    settings, missing = for_adapter(rows, known, own | {INTERPOLATION})
    appended = profile.edits and profile.layout == "end of template.py"
    converters, row_bias = _renamed_biases(convert_roles(blueprint, blocks.megatron_names, own))
    converters = _prefixed(converters, names.prefix) if appended else converters
    distribution = distribute(
        converters.parameters,
        profile,
        gated=any(row.attribute == "swiglu" for row in settings),
        latent=latent,
        shared=any(row.role.startswith("moe.shared.") for row in blueprint.roles),
        known=(*converters.known, *_halved(converters)),
    )
    found = (*settlement.gaps, *missing, *converters.gaps, *distribution.gaps, *block_gaps(blocks, profile))
    model_id, provenance = _origin(blueprint, options)
    return Design(
        blueprint,
        profile,
        names,
        blocks,
        bind(settings, blocks, known, row_bias, frozenset(use.key for use in blueprint.keys)),
        converters,
        distribution,
        latent,
        row_bias,
        infinite=_is_infinite(blueprint),
        appended=appended,
        replaces=not profile.edits and profile.registration(names.model_type) is not None,
        provenance=provenance,
        model_id=model_id,
        gaps=_once((*blueprint.gaps, *found, *quantised_gaps(blueprint.stored))),
    )


def _once(gaps: Sequence[Gap]) -> tuple[Gap, ...]:
    """The first of each subject and reason."""
    return tuple({(gap.subject, gap.reason): gap for gap in reversed(gaps)}.values())[::-1]


def _origin(blueprint: Blueprint, options: Options) -> tuple[str, str]:
    """The model's id for commands, and the line that says where the code is from."""
    wanted = options.model_id or blueprint.model_name
    model_id = wanted if _MODEL_ID.fullmatch(wanted) else None
    origin = f" from {model_id}" if model_id else ""
    at = f" at revision {options.revision}" if options.revision and model_id else ""
    return model_id or "path/to/model", f"Generated with scaffold{origin}{at}."


def _is_infinite(blueprint: Blueprint) -> bool:
    values = [use.value for use in blueprint.keys]
    numbers = [item for value in values for item in (value if isinstance(value, list) else [value])]
    limits = blueprint.value("mamba.step_limit") or []
    return None in limits or any(isinstance(number, float) and math.isinf(number) for number in numbers)


def _renamed_biases(converters: Converters) -> tuple[Converters, bool]:
    """Biases of row-parallel modules under the name that the adapter does not take for a weight's."""
    found = [name for name in converters.parameters if _ROW_PARALLEL.search(name)]
    if not found:
        return converters, False
    rows = tuple(
        replace(row, mca=tuple(_ROW_PARALLEL.sub(rf"\1{ROW_BIAS}", name) for name in row.mca))
        for row in converters.operations
    )
    return replace(converters, operations=rows), True


def _halved(converters: Converters) -> tuple[tuple[str, str], ...]:
    """Output biases of stacked experts, which reach the adapter as two halves."""
    stacked = any(row.kind == "stacked_bias" for row in converters.local)
    return ((f".linear_fc2{ROW_BIAS}", HALVES),) if stacked else ()


def _prefixed(converters: Converters, prefix: str) -> Converters:
    """Operations under names that say whose they are, for a module with those of all models."""
    own = {row.name: f"{prefix}{row.name}" for row in converters.local}
    operations = tuple(replace(row, name=own.get(row.name, row.name)) for row in converters.operations)
    local = tuple(replace(row, name=own[row.name]) for row in converters.local)
    return replace(converters, operations=operations, local=local)
