"""What surrounds a bridge in a checkout: training recipes, examples, launch scripts of tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.targets.megatron_bridge.blocks import BlockPlan
from scaffold_tools.targets.megatron_bridge.doc_lists import page_link
from scaffold_tools.targets.megatron_bridge.examples import example_files
from scaffold_tools.targets.megatron_bridge.flops import flops_words
from scaffold_tools.targets.megatron_bridge.flops_expected import flops_test_words
from scaffold_tools.targets.megatron_bridge.launch import launch_files
from scaffold_tools.targets.megatron_bridge.mappings import Mappings
from scaffold_tools.targets.megatron_bridge.naming import Names
from scaffold_tools.targets.megatron_bridge.profile import Profile
from scaffold_tools.targets.megatron_bridge.recipes.design import RecipeDesign, design_recipes
from scaffold_tools.targets.megatron_bridge.recipes.files import recipe_edits, recipe_files, script_edits
from scaffold_tools.targets.megatron_bridge.recipes.words import memory_text, parallelism_text, recipe_words
from scaffold_tools.workspace.plan import Change

NewFile = tuple[str, str, str, dict[str, Any]]
"""(path, template, summary, context)."""


@dataclass(frozen=True)
class Surroundings:
    """The decisions, and what the templates are told of them."""

    names: Names
    blocks: BlockPlan
    recipes: RecipeDesign | None
    words: dict[str, Any]
    counts: dict[str, Any]
    """What the test of a provider's own count of operations is told; empty where it has none."""
    notes: tuple[str, ...]


def design_surroundings(
    blueprint: Blueprint, profile: Profile, names: Names, *, blocks: BlockPlan, mappings: Mappings, model_id: str
) -> Surroundings:
    """Decide on recipes for one model; there are none where the checkout has none that would fit beside.

    A package of its own has no surroundings.
    """
    if profile.layout == "package":
        return Surroundings(names, blocks, None, {}, {}, ())
    own = flops_words(blueprint, blocks, profile.counted) is not None
    counts = flops_test_words(blueprint, blocks) if own else {}
    design = design_recipes(blueprint, profile, names, blocks=blocks, mappings=mappings, model_name=model_id)
    if design is None:
        note = "no recipes: this checkout has no base configs in recipes/common.py"
        return Surroundings(names, blocks, None, {}, counts, (note,))
    words = recipe_words(design, blueprint, profile.provider_fields)
    return Surroundings(names, blocks, design, words, counts, _notes(design))


def surrounding_files(found: Surroundings, words: dict[str, Any], *, root: Path) -> list[NewFile]:
    """Files that are new, or replaced whole.

    Args:
        found: the decisions.
        words: what the generated tests are told: names, and the config of a small model.
        root: the checkout.
    """
    names = found.names
    told = {**words, **found.words, "family": names.family, "dashed": names.stem.replace("_", "-")}
    folder, _, page = page_link(names, root).rpartition("/")
    told |= {"docs_folder": folder, "docs_page": page}
    recipes = recipe_files(found.recipes, told, root=root) if found.recipes else []
    counts = _count_test(found, told)
    examples = example_files(found.names, told, recipes=found.recipes, blocks=found.blocks, root=root)
    if names.registered:  # examples that came with a bridge of the checkout's own know more than ours would
        examples = [row for row in examples if not (root / row[0]).exists()]
    return [*recipes, *counts, *examples, *launch_files(found.names, told, root=root)]


def _count_test(found: Surroundings, told: dict[str, Any]) -> list[NewFile]:
    """The test of a provider's own count of operations, where it has one."""
    if not found.counts:
        return []
    path = f"tests/unit_tests/models/{found.names.family}/test_{found.names.stem}_flops.py"
    return [(path, "checkout/test_flops.py.j2", "unit tests of operations", {**told, **found.counts})]


def surrounding_edits(found: Surroundings, root: Path) -> tuple[Change, ...]:
    """Edits of lists that exist."""
    if found.recipes is None:
        return ()
    return (*recipe_edits(found.recipes, found.words, root=root), *script_edits(found.recipes, root)[0])


def by_hand_notes(found: Surroundings, root: Path) -> tuple[str, ...]:
    """Scripts that name recipes in a way that an edit could only guess at."""
    return script_edits(found.recipes, root)[1] if found.recipes else ()


def _notes(design: RecipeDesign) -> tuple[str, ...]:
    if design.taken is not None:
        return (f"recipes called {design.name}_* are in {design.taken} already: left as they are",)
    tight = [choice for choice in design.choices if not choice.memory.fits]
    return tuple(
        f"{choice.task} of {design.name} needs more than 1024 H100: {parallelism_text(choice.split)}, "
        f"{memory_text(choice.memory)}"
        for choice in tight
    )
