"""What a block is: a few lines of code that a model family gets where stock megatron-core cannot express a fact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from scaffold_tools.blueprint.facts import Blueprint, Expression, Gap
from scaffold_tools.targets.megatron_bridge.blocks.features import BLOCK_FEATURES, needs_layer_spec


@dataclass(frozen=True)
class Block:
    """One custom block that the family folder gets."""

    name: str
    reason: str
    facts: tuple[str, ...]


@dataclass(frozen=True)
class ProviderField:
    """A dataclass field that the generated provider adds; the bridge sets it from `expression`, else to `value`."""

    name: str
    annotation: str
    default: str
    """Python source of the default, the value that switches the block off."""
    expression: Expression | None = None
    value: Any = None
    comment: str = ""
    code: str | None = None
    """Code over `hf_config` where no expression says it; built in `emission` from checked parts."""


@dataclass(frozen=True)
class ProviderSetting:
    """A stock provider attribute that the bridge has to set for a block to be right."""

    name: str
    value: Any = None
    expression: Expression | None = None
    symbol: str | None = None
    """A public name of the generated modeling module, where the value is a callable."""
    comment: str = ""
    code: str | None = None
    """As in `ProviderField`."""


@dataclass(frozen=True)
class Import:
    """`from module import name` of the generated modeling module."""

    module: str
    name: str


@dataclass(frozen=True)
class Part:
    """What one block contributes; parts of several blocks are merged into shared classes by `features`."""

    features: tuple[str, ...] = ()
    """Switches of the template fragments."""
    fields: tuple[ProviderField, ...] = ()
    settings: tuple[ProviderSetting, ...] = ()
    names: tuple[tuple[str, str], ...] = ()
    """(role, Megatron parameter pattern without `.weight`/`.bias`)."""
    module_types: tuple[tuple[str, str], ...] = ()
    gaps: tuple[Gap, ...] = ()
    covers: tuple[str, ...] | None = None
    """Facts covered, where that depends on the blueprint; None means the row's own list."""
    values: tuple[tuple[str, str], ...] = ()
    """Template variables."""


@dataclass(frozen=True)
class Naming:
    """How the generated classes and functions of a family are called."""

    prefix: str
    """`Granite` in `GraniteModelProvider`."""
    stem: str
    """`granite` in `granite_layer_spec` and `modeling_granite.py`."""


@dataclass(frozen=True)
class BlockRow:
    """One row of the block table: when a block is needed, why, and what it brings."""

    name: str
    reason: str
    covers: tuple[str, ...]
    applies: Callable[[Blueprint], bool]
    part: Callable[[Blueprint, Naming], Part]


@dataclass(frozen=True)
class BlockPlan:
    """All blocks of one model, ready for rendering. Empty where stock `GPTModelProvider` suffices."""

    naming: Naming
    blocks: tuple[Block, ...] = ()
    provider_fields: tuple[ProviderField, ...] = ()
    provider_settings: tuple[ProviderSetting, ...] = ()
    megatron_names: dict[str, str] = field(default_factory=dict)
    module_types: tuple[tuple[str, str], ...] = ()
    provider_class: str | None = None
    modeling_needed: bool = False
    gaps: tuple[Gap, ...] = ()
    covered_facts: frozenset[str] = frozenset()
    features: frozenset[str] = frozenset()
    values: dict[str, str] = field(default_factory=dict)

    @property
    def layer_spec(self) -> str | None:
        """Public name of the generated layer-spec function, or None where the stock spec suffices."""
        if not needs_layer_spec(self.features):
            return None
        kind = "block" if self.features & (BLOCK_FEATURES | {"plain_norm"}) else "layer"
        return f"{self.naming.stem}_{kind}_spec"
