"""What a model touches in a Megatron-Bridge checkout besides its own modules: tests, examples, docs, export lists."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.errors import BadInput
from scaffold_tools.targets.megatron_bridge.blocks import BlockPlan
from scaffold_tools.targets.megatron_bridge.doc_lists import HOME, doc_place, edited_lists, site_page
from scaffold_tools.targets.megatron_bridge.naming import Names
from scaffold_tools.workspace.plan import Change

MATRIX = "tests/unit_tests/models/test_autobridge_registration_matrix.py"

NewFile = tuple[str, str, str, dict[str, Any]]
"""(path, template, summary, context)."""


def new_files(names: Names, words: dict[str, Any], *, root: Path) -> list[NewFile]:
    """Tests and documentation of one model; pages and `__init__.py` files only where there are none yet.

    Where the checkout has the bridge already, it has its documentation too, and that knows more than ours would.
    """
    stem, family = names.stem, names.family
    dashed = stem.replace("_", "-")
    place = doc_place(names, root)
    told = {**words, "family": family, "dashed": dashed, "toy_name": f"{stem}_toy", "folder": _package(names)}
    told |= {"bridge_module": names.bridge_module, "provider_module": f"{stem}_provider"}
    units = f"tests/unit_tests/models/{family}"
    functional = f"tests/functional_tests/test_groups/models/{family}"
    rows: list[NewFile] = [
        (f"{units}/test_{stem}_bridge.py", "test_bridge.py.j2", "unit tests", told),
        (f"{functional}/test_{stem}_conversion.py", "checkout/test_conversion.py.j2", "conversion test", told),
    ]
    inits: list[NewFile] = [
        (f"{_folder(names)}/__init__.py", "checkout/init.py.j2", "exports of the family", told),
        (f"{units}/__init__.py", "checkout/empty_init.py.j2", "makes it a package", told),
        (f"{functional}/__init__.py", "checkout/empty_init.py.j2", "makes it a package", told),
    ]
    if not names.registered:
        pages = zip(_pages(names, root), ("documentation page", "its twin in the site"), strict=False)
        inits += [(path, "docs.md.j2", summary, told) for path, summary in pages]
        if place.new_folder:
            index = f"{HOME}/{place.folder}/index.md"
            inits.append((index, "checkout/docs_index.md.j2", "documentation of the family", told))
    return [*rows, *(row for row in inits if not (root / row[0]).exists())]


def _pages(names: Names, root: Path) -> list[str]:
    """The model's page, and its twin where the checkout has a site."""
    place = doc_place(names, root)
    twin = site_page(place, root)
    return [f"{HOME}/{place.folder}/{place.page}", *([twin] if twin else [])]


@dataclass(frozen=True)
class Edits:
    """Changes of shared files, and what of them has to be done by hand."""

    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()


def edits(names: Names, blocks: BlockPlan, blueprint: Blueprint, root: Path) -> Edits:
    """Shared files: export lists, the registrations that upstream's tests expect, lists of models in documentation.

    None where the checkout imports a bridge of this name from this module already.

    Raises:
        BadInput: the checkout has no `models/__init__.py`.
    """
    if names.registered:
        return Edits()
    lists, notes = edited_lists(doc_place(names, root), root)
    matrix, matrix_notes = _registrations(names, blueprint, root)
    changes = (*_exports(names, blocks, root), *matrix, *(_edit(*row) for row in lists if row[1] != row[2]))
    there = (f"{path} is there already and stays as it is" for path in _pages(names, root) if (root / path).is_file())
    return Edits(changes, (*matrix_notes, *notes, *there))


def _exports(names: Names, blocks: BlockPlan, root: Path) -> tuple[Change, ...]:
    """The family's `__init__.py` where it exists already, and `models/__init__.py`."""
    from scaffold_tools.edit import add_to_family_init, add_to_models_init

    exported = [names.bridge_class, *([blocks.provider_class] if blocks.provider_class else [])]
    changes = []
    family = f"{_folder(names)}/__init__.py"
    if (root / family).is_file():
        source = (root / family).read_bytes()
        after = add_to_family_init(source, f"{_package(names)}.{names.bridge_module}", [names.bridge_class])
        if blocks.provider_class:
            after = add_to_family_init(after, f"{_package(names)}.{names.stem}_provider", [blocks.provider_class])
        changes.append(_edit(family, source, after, "exports of the family"))
    models = "src/megatron/bridge/models/__init__.py"
    if not (root / models).is_file():
        raise BadInput(f"{root} has no {models}", hint="give the root of a Megatron-Bridge checkout with --repo")
    source = (root / models).read_bytes()
    after = add_to_models_init(source, _package(names), exported, names.prefix)
    changes.append(_edit(models, source, after, "registration: bridges register when this is imported"))
    return tuple(changes)


def _registrations(names: Names, blueprint: Blueprint, root: Path) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """The table of registrations that a test of upstream's holds against the package, where the checkout has it."""
    from scaffold_tools.edit.registries import add_to_string_dict, add_to_string_set

    if not (root / MATRIX).is_file():
        return (), ()
    source, architecture = (root / MATRIX).read_bytes(), blueprint.architecture
    try:
        bridge = f"{_package(names)}.{names.bridge_module}.{names.bridge_class}"
        after = add_to_string_dict(source, "EXPECTED_REGISTRATIONS", architecture, bridge)
        if not blueprint.in_transformers:  # registered by name: there is no class to register by
            after = add_to_string_set(after, "STRING_REGISTRATIONS", architecture)
    except BadInput as error:
        return (), (f"{MATRIX}: add {architecture} by hand, {error.what}",)
    return (_edit(MATRIX, source, after, "the registration that is expected"),), ()


def _edit(path: str, before: bytes, after: bytes, summary: str) -> Change:
    return Change(
        path=path,
        kind="edit",
        content=after.decode("utf-8"),
        summary=summary,
        before_sha256=hashlib.sha256(before).hexdigest(),
    )


def _folder(names: Names) -> str:
    return f"src/megatron/bridge/models/{names.family}"


def _package(names: Names) -> str:
    return f"megatron.bridge.models.{names.family}"
