"""From a blueprint to a plan for ROLL: every file whole, nothing written."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scaffold_tools.blueprint.facts import Blueprint, Gap
from scaffold_tools.paths import data_dir
from scaffold_tools.render import Renderer, Style, format_many
from scaffold_tools.targets.megatron_bridge.blocks import BlockPlan, choose_blocks
from scaffold_tools.targets.megatron_bridge.context import block_settings
from scaffold_tools.targets.roll import contexts, documents
from scaffold_tools.targets.roll.binding import Binding, bind
from scaffold_tools.targets.roll.converters import Converters, convert_roles
from scaffold_tools.targets.roll.distribution import HALVES, ROW_BIAS, Distribution, distribute
from scaffold_tools.targets.roll.gaps import block_gaps, quantised_gaps
from scaffold_tools.targets.roll.naming import Names, names_of
from scaffold_tools.targets.roll.profile import RollProfile, read_profile
from scaffold_tools.targets.roll.rules import (
    INTERPOLATION,
    NOTHING_DERIVED,
    for_adapter,
    latent_settings,
    settle,
    training_settings,
    unused_sizes,
)
from scaffold_tools.workspace.plan import Change, Plan

__all__ = ["Design", "Options", "design", "make_plan", "read_profile"]

_MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_ROW_PARALLEL = re.compile(r"(linear_proj|linear_fc2|out_proj|projection)\.bias$")

STYLE = replace(Style(), known_first_party=("mcore_adapter", "roll"))
"""mcore_adapter's own settings of ruff, as far as they change what is written."""


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


@dataclass(frozen=True)
class _File:
    path: str
    template: str
    summary: str
    context: dict[str, Any]


def make_plan(blueprint: Blueprint, *, root: Path, profile: RollProfile, options: Options | None = None) -> Plan:
    """Plan the integration of one model.

    With `profile.edits` the root is a checkout of ROLL; else it is the folder of an installable package, which also is
    what an import needs on its path.

    Raises:
        BadInput: names that cannot be put into code, or a checkout whose lists are built in an unknown way.
    """
    made = design(blueprint, profile, options or Options())
    files = module_files(made)
    if not profile.edits:
        files += [_File(path, template, summary, contexts.package(made)) for path, template, summary in _PACKAGE]
    changes = _render(files, root, profile.edits)
    if profile.edits:
        from scaffold_tools.targets.roll.checkout import edits

        changes = (*changes, *edits(made, root, appended_text(made) if made.appended else None))
    beside = documents.companions(blueprint, profile, made.names, options or Options())
    changes = (*changes, *beside)
    own = profile.registration(blueprint.model_type)
    notes = list(profile.notes)
    if own is not None:
        notes.append(f"takes the place of {own.name}")
    if made.converters.stacked and not profile.edits:
        notes.append(
            "experts are stored as one tensor: to export them from several expert-parallel ranks, ROLL has to know the"
            f" model type in {' and '.join(file for file, _ in profile.moe_allgather)}, which a package cannot edit"
        )
    notes.extend(documents.notes(blueprint, profile, beside))
    return Plan(
        target="roll",
        layout="checkout" if profile.edits else "package",
        root=str(root),
        package=made.names.package,
        changes=changes,
        gaps=made.gaps,
        notes=tuple(notes),
        next_commands=() if profile.edits else (f"pip install -e {root.name}",),
    )


_PACKAGE = (
    ("pyproject.toml", "package/pyproject.toml.j2", "makes it installable"),
    ("README.md", "package/README.md.j2", "how to train with it"),
)


def design(blueprint: Blueprint, profile: RollProfile, options: Options) -> Design:
    """Decide everything for one model.

    Raises:
        BadInput: names that cannot be put into code.
    """
    names = names_of(blueprint, profile)
    blocks = choose_blocks(blueprint)
    latent = blueprint.value("mla.kv_rank") is not None
    settlement = settle(blueprint, profile, blocks.covered_facts)
    known = profile.fields(latent)
    rows = (
        *training_settings(blueprint),
        *unused_sizes(blueprint),
        *settlement.settings,
        *block_settings(blocks, blueprint, NOTHING_DERIVED),
        *latent_settings(blueprint),
    )
    own = frozenset(row.name for row in blocks.provider_fields) | {INTERPOLATION}
    settings, missing = for_adapter(rows, known, own)
    fields = frozenset(row.name for row in blocks.provider_fields)
    converters = convert_roles(blueprint, blocks.megatron_names, fields)
    converters, row_bias = _renamed_biases(converters)
    if profile.edits and profile.layout == "end of template.py":
        converters = _prefixed(converters, names.prefix)
    binding = bind(settings, blocks, known, row_bias, frozenset(use.key for use in blueprint.keys))
    distribution = distribute(
        converters.parameters,
        profile,
        gated=any(row.attribute == "swiglu" for row in settings),
        latent=latent,
        shared=any(row.role.startswith("moe.shared.") for row in blueprint.roles),
        known=(*converters.known, *_halved(converters)),
    )
    found = (
        *settlement.gaps,
        *missing,
        *converters.gaps,
        *distribution.gaps,
        *block_gaps(blocks, profile),
        *quantised_gaps(blueprint.stored),
    )
    seen = {(gap.subject, gap.reason) for gap in blueprint.gaps}
    wanted = options.model_id or blueprint.model_name
    model_id = wanted if _MODEL_ID.fullmatch(wanted) else None
    origin = f" from {model_id}" if model_id else ""
    at = f" at revision {options.revision}" if options.revision and model_id else ""
    return Design(
        blueprint,
        profile,
        names,
        blocks,
        binding,
        converters,
        distribution,
        latent,
        row_bias,
        infinite=_is_infinite(blueprint),
        appended=profile.edits and profile.layout == "end of template.py",
        replaces=not profile.edits and profile.registration(blueprint.model_type) is not None,
        provenance=f"Generated with scaffold{origin}{at}.",
        model_id=model_id or "path/to/model",
        gaps=(*blueprint.gaps, *(gap for gap in found if (gap.subject, gap.reason) not in seen)),
    )


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


def module_files(made: Design) -> list[_File]:
    """The modules of one model's package."""
    names = made.names
    files = [_File(names.module("__init__"), "template.py.j2", "registrations and template", contexts.template(made))]
    if made.binding.own_config:
        path = names.module(f"configuration_{names.stem}")
        files.append(_File(path, "configuration.py.j2", "config class", contexts.configuration(made)))
    if made.binding.own_model:
        path = names.module(f"modeling_{names.stem}")
        files.append(_File(path, "modeling.py.j2", "model class", contexts.modeling(made)))
    if made.blocks.modeling_needed:
        path = names.module(f"modules_{names.stem}")
        files.append(_File(path, "modules.py.j2", "custom modules", contexts.modules(made)))
    if made.converters.local and not made.appended:
        path = names.module(f"converters_{names.stem}")
        files.append(_File(path, "converters.py.j2", "converter operations", contexts.converters(made)))
    return files


def appended_text(made: Design) -> str:
    """What goes to the end of template.py in older checkouts."""
    renderer = Renderer(data_dir("templates") / "roll", data_dir("templates") / "megatron_bridge")
    text = renderer.render("appended.py.j2", contexts.appended(made))
    return next(iter(format_many({"template.py": text}, replace(STYLE, select=())).values()))


def _render(files: Sequence[_File], root: Path, replaces: bool) -> tuple[Change, ...]:
    renderer = Renderer(data_dir("templates") / "roll", data_dir("templates") / "megatron_bridge")
    texts = {file.path: renderer.render(file.template, file.context) for file in files}
    texts.update(format_many({path: text for path, text in texts.items() if path.endswith(".py")}, STYLE))
    return tuple(_change(root, file, texts[file.path], replaces) for file in files)


def _change(root: Path, file: _File, text: str, replaces: bool) -> Change:
    """A whole file; it may take the place of what a checkout has there, but not of what a user wrote in a package."""
    change = Change(path=file.path, kind="create", content=text, summary=file.summary)
    before = root / file.path
    if not replaces or not before.is_file():
        return change
    return replace(change, before_sha256=hashlib.sha256(before.read_bytes()).hexdigest())
