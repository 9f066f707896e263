"""The files and edits that recipes are in a checkout."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scaffold_tools.errors import BadInput
from scaffold_tools.targets.megatron_bridge.recipes.design import RecipeDesign
from scaffold_tools.targets.megatron_bridge.recipes.layout import HARDWARE
from scaffold_tools.targets.megatron_bridge.recipes.naming import alias
from scaffold_tools.workspace.plan import Change

NewFile = tuple[str, str, str, dict[str, Any]]
"""(path, template, summary, context)."""

_RECIPES = "src/megatron/bridge/recipes"
_TEMPLATES = "checkout/recipes"
_SCRIPT_FOLDERS = ("examples", "scripts", "tutorials")


def recipe_files(design: RecipeDesign, words: dict[str, Any], *, root: Path) -> list[NewFile]:
    """Factories, aliases and tests of one size; none where the checkout has recipes of these names already."""
    if design.taken is not None:
        return []
    family = f"{_RECIPES}/{design.family}"
    factories = f"{family}/{HARDWARE}/{design.name}.py" if design.hardware else f"{family}/{design.name}.py"
    rows: list[NewFile] = [(factories, f"{_TEMPLATES}/factories.py.j2", "training recipes", words)]
    inits: list[NewFile] = [(f"{family}/__init__.py", f"{_TEMPLATES}/family_init.py.j2", "exports of recipes", words)]
    if design.hardware:
        rows.append((f"{family}/{design.name}.py", f"{_TEMPLATES}/aliases.py.j2", "short names of recipes", words))
        init = f"{family}/{HARDWARE}/__init__.py"
        inits.append((init, f"{_TEMPLATES}/hardware_init.py.j2", "exports of recipes", words))
    rows.append((_test_path(design, root), f"{_TEMPLATES}/test_recipes.py.j2", "unit tests of recipes", words))
    return [*rows, *(row for row in inits if not (root / row[0]).exists())]


def _test_path(design: RecipeDesign, root: Path) -> str:
    """In the family's folder where there is one."""
    folder = "tests/unit_tests/recipes"
    own = f"{folder}/{design.family}"
    return f"{own if (root / own).is_dir() else folder}/test_{design.name}_recipes.py"


def recipe_edits(design: RecipeDesign, words: dict[str, Any], *, root: Path) -> tuple[Change, ...]:
    """Export lists that exist already: the family's, those of its hardware folder, and the one of all recipes.

    Raises:
        BadInput: a list is built in a way that an edit could only guess at.
    """
    if design.taken is not None:
        return ()
    from scaffold_tools.edit import add_to_family_init
    from scaffold_tools.edit.exports import add_to_dunder_all
    from scaffold_tools.edit.relative_imports import add_relative_import, imports_relatively
    from scaffold_tools.edit.star_imports import add_star_import

    aliases = [row["alias"] for row in words["aliases"]]
    package, hardware = design.package, f"{design.package}.{HARDWARE}"

    def family(source: bytes) -> bytes:
        if imports_relatively(source):
            source = add_relative_import(source, design.name, aliases)
            return add_to_dunder_all(source, aliases, if_missing="skip")
        return add_to_family_init(source, f"{package}.{design.name}", aliases)

    def factories(source: bytes) -> bytes:
        return add_to_dunder_all(add_star_import(source, design.module), words["names"], if_missing="skip")

    def everything(source: bytes) -> bytes:
        source = add_star_import(source, package)
        return add_star_import(source, hardware) if design.hardware else source

    rows: list[tuple[str, Callable[[bytes], bytes]]] = [
        (f"{_RECIPES}/{design.family}/__init__.py", family),
        (f"{_RECIPES}/__init__.py", everything),
    ]
    if design.hardware:
        rows.append((f"{_RECIPES}/{design.family}/{HARDWARE}/__init__.py", factories))
    return tuple(_edit(root, path, edit) for path, edit in rows if (root / path).is_file())


def script_edits(design: RecipeDesign, root: Path) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """The `config_map` of `train_any_basic.py` where a checkout still has it, and what is left to people there."""
    from scaffold_tools.edit.config_map import NAME, add_to_config_map

    if design.taken is not None:
        return (), ()
    recipes: dict[str, str] = {choice.task: alias(design.name, choice.task) for choice in design.choices}
    changes: list[Change] = []
    notes: list[str] = []
    for folder in _SCRIPT_FOLDERS:
        for path in sorted((root / folder).rglob("train_any_basic.py")):
            name = path.relative_to(root).as_posix()
            if NAME.encode() not in path.read_bytes():
                continue
            try:
                changes.append(_edit(root, name, lambda s: add_to_config_map(s, design.name, recipes, design.package)))
            except BadInput as error:
                notes.append(f"{name}: {error.what}; add the recipe by hand")
    return tuple(changes), tuple(notes)


def _edit(root: Path, path: str, edit: Callable[[bytes], bytes]) -> Change:
    before = (root / path).read_bytes()
    return Change(
        path=path,
        kind="edit",
        content=edit(before).decode("utf-8"),
        summary="exports of recipes",
        before_sha256=hashlib.sha256(before).hexdigest(),
    )
