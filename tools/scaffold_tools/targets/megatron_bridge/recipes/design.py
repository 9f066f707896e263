"""Every decision about the recipes of one model, before any text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.targets.megatron_bridge.blocks import BlockPlan
from scaffold_tools.targets.megatron_bridge.mappings import Mappings
from scaffold_tools.targets.megatron_bridge.naming import Names
from scaffold_tools.targets.megatron_bridge.profile import Profile
from scaffold_tools.targets.megatron_bridge.recipes import naming
from scaffold_tools.targets.megatron_bridge.recipes.layout import RecipeLayout
from scaffold_tools.targets.megatron_bridge.recipes.parallelism import Choice, choose
from scaffold_tools.targets.megatron_bridge.recipes.size import ModelSize, model_size

SEQ_LENGTH = {"pretrain": 4096, "sft": 2048, "peft": 2048}
"""Those of `_pretrain_common`, `_sft_common` and `_peft_common`."""

RECURRENT = ("mamba", "delta", "selective", "short_conv", "lru", "lightning")
"""Mixers that carry something from one position to the next."""


@dataclass(frozen=True)
class Obstacle:
    """A reason for which sequences are not packed into one."""

    name: str
    reason: str
    holds: Callable[[Blueprint, BlockPlan], bool]


OBSTACLES: tuple[Obstacle, ...] = (
    Obstacle(
        "state",
        "the state of recurrent layers would cross from one packed sequence into the next",
        lambda blueprint, _: any(any(blueprint.value(f"{kind}.layers") or ()) for kind in RECURRENT),
    ),
    Obstacle(
        "own attention",
        "the core attention of this model does not take packed sequences",
        lambda _, blocks: bool(blocks.features & {"core_attention", "eager_attention", "difference", "key_selection"}),
    ),
    Obstacle(
        "positions",
        "learned positions do not start again inside a packed sequence",
        lambda blueprint, _: blueprint.value("position.kind") in ("learned", "alibi"),
    ),
)
"""Where none holds, SFT and PEFT recipes pack, as upstream's base configs do."""

ADAPTED = (
    *("linear_qkv", "linear_q_proj", "linear_q_down_proj", "linear_q_up_proj"),
    *("linear_kv_down_proj", "linear_kv_up_proj", "linear_proj", "linear_fc1", "linear_fc2", "in_proj", "out_proj"),
)
"""Modules that upstream's recipes put adapters on, of attention, latent attention, MLP and Mamba 2."""
USUAL = ("linear_qkv", "linear_proj", "linear_fc1", "linear_fc2")
"""What upstream's LoRA adapts when it is told nothing."""


@dataclass(frozen=True)
class RecipeDesign:
    """The recipes of one published size."""

    layout: RecipeLayout
    size: ModelSize
    token: str
    """`30b_a3b`."""
    name: str
    """`qwen3_30b_a3b`: the module, and how the names of the recipes begin."""
    family: str
    """The folder under `recipes/`."""
    choices: tuple[Choice, ...]
    inference: Choice
    unpacked: str | None
    """Why sequences are not packed; None where they are."""
    targets: tuple[str, ...]
    """Modules with adapters; empty where upstream's default is right."""
    uneven: bool
    """Some pipeline has stages of different length."""
    taken: str | None = None
    """The module of the checkout that has recipes of these names already."""

    @property
    def hardware(self) -> bool:
        """Canonical factories are named after the hardware."""
        return self.layout.kind == "hardware"

    @property
    def package(self) -> str:
        """`megatron.bridge.recipes.qwen`."""
        return f"megatron.bridge.recipes.{self.family}"

    @property
    def module(self) -> str:
        """Where the factories are defined."""
        return f"{self.package}.h100.{self.name}" if self.hardware else f"{self.package}.{self.name}"

    def factory(self, choice: Choice) -> str:
        """The name under which a factory is defined."""
        if self.hardware:
            return naming.canonical(self.name, choice.task, choice.split.world)
        return naming.alias(self.name, choice.task)


def design_recipes(
    blueprint: Blueprint, profile: Profile, names: Names, *, blocks: BlockPlan, mappings: Mappings, model_name: str
) -> RecipeDesign | None:
    """The recipes of a model; None where the checkout has no recipes that a generated one would fit beside."""
    layout, size = profile.recipes, model_size(blueprint)
    if layout is None or not size.total or not size.num_layers:
        return None
    token = naming.size_token(size, model_name)
    name = naming.recipe_stem(names.stem, token)
    choices = tuple(choose(blueprint, size, task, SEQ_LENGTH[task]) for task in layout.stages)  # type: ignore[arg-type]
    design = RecipeDesign(
        layout=layout,
        size=size,
        token=token,
        name=name,
        family=names.family,
        choices=choices,
        inference=choose(blueprint, size, "inference", SEQ_LENGTH["sft"]),
        unpacked=next((row.reason for row in OBSTACLES if row.holds(blueprint, blocks)), None),
        targets=_targets(mappings),
        uneven=any(not choice.even for choice in choices),
    )
    return _with_taken(design)


def _with_taken(design: RecipeDesign) -> RecipeDesign:
    """Another module may have these recipes already: two of one name would shadow each other."""
    own = {design.module, f"{design.package}.{design.name}"}
    exporters = {design.package, f"{design.package}.h100", "megatron.bridge.recipes"}
    wanted = {naming.alias(design.name, task) for task in design.layout.stages}
    wanted |= {design.factory(choice) for choice in design.choices}
    for module, name in sorted(design.layout.factories):
        if name in wanted and module not in own and module.removesuffix(".__init__") not in exporters:
            return replace(design, taken=module)
    return design


def _targets(mappings: Mappings) -> tuple[str, ...]:
    """Modules among `ADAPTED` that the Megatron model has, where they are not the usual four."""
    names = {row.megatron for row in mappings.renames} | {row.megatron for row in mappings.fused}
    modules = {part for name in names for part in name.split(".")}
    found = tuple(name for name in ADAPTED if name in modules)
    return () if not found or set(found) <= set(USUAL) else found
