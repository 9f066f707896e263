"""What trains and what rolls out one model with one ROLL: asked once, told in examples, documents and notes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.targets.roll.engines import EngineSupport, engine_support
from scaffold_tools.targets.roll.profile import RollProfile
from scaffold_tools.targets.roll.strategies import StrategySupport, strategy_support
from scaffold_tools.targets.roll.strategies_checkout import FSDP2_UPDATE, Training, read_training
from scaffold_tools.targets.roll.strategies_transformers import ClassFacts, class_facts


@dataclass(frozen=True)
class Support:
    """Everything that was asked."""

    known: ClassFacts | None
    training: Training
    engines: tuple[EngineSupport, ...]
    strategies: tuple[StrategySupport, ...]

    @property
    def serving(self) -> tuple[EngineSupport, ...]:
        """Engines that take the model and that this ROLL has a strategy for."""
        return tuple(row for row in self.engines if row.supported and row.engine in self.training.strategies)

    def trains(self, family: str) -> bool:
        """Whether a family of strategies (`megatron`, `fsdp2`, `deepspeed`) trains it."""
        if f"{family}_train" not in self.training.strategies:
            return False
        row = next((one for one in self.strategies if one.family == family), None)
        return row is None or row.verdict in ("supported", "with the edit of this plan")


def support_of(blueprint: Blueprint, profile: RollProfile) -> Support:
    """Ask about one model.

    Raises:
        BadInput: the environment names a folder that is no engine.
    """
    site_packages = Path(profile.site_packages) if profile.site_packages else None
    root = Path(profile.root)
    known = class_facts(site_packages, blueprint.architecture, blueprint.model_type)
    training = read_training(root)
    strategies = strategy_support(blueprint, known, training)
    return Support(
        known=known,
        training=training,
        engines=engine_support(blueprint, known, site_packages=site_packages, checkout=root),
        strategies=strategies if profile.edits else tuple(_without_edits(row) for row in strategies),
    )


def _without_edits(row: StrategySupport) -> StrategySupport:
    """What remains of the support where no checkout is edited."""
    if row.verdict != "with the edit of this plan":
        return row
    return replace(row, verdict="not supported", missing=(f"its model type in the list of {FSDP2_UPDATE}",))


def support_notes(support: Support) -> tuple[str, ...]:
    """For the checklist: each engine and strategy, what was looked at, and what is missing."""
    megatron = [name for name in support.training.strategies if name.startswith("megatron_")]
    return (
        *((f"Megatron: {' and '.join(megatron)}, by the template of this plan",) if megatron else ()),
        *(row.line for row in support.strategies),
        *(row.line for row in support.engines),
    )
