"""From a blueprint to a plan for ROLL: every file whole, nothing written."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.paths import data_dir
from scaffold_tools.render import Renderer, Style, format_many
from scaffold_tools.targets.roll import contexts, documents
from scaffold_tools.targets.roll.design import Design, Options, design
from scaffold_tools.targets.roll.profile import RollProfile, read_profile
from scaffold_tools.workspace.plan import Change, Plan

__all__ = ["Design", "Options", "design", "make_plan", "read_profile"]

STYLE = replace(Style(), known_first_party=("mcore_adapter", "roll"))
"""mcore_adapter's own settings of ruff, as far as they change what is written."""


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
    own = profile.registration(made.names.model_type)
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
