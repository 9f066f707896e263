"""The words of the rule tables: what a row is, what it may look at, and what it can say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from scaffold_tools.blueprint.facts import Blueprint, Chosen, Const, Expression, Fact, Gap, LayerRule, PerLayer
from scaffold_tools.render.literals import python_literal as literal
from scaffold_tools.targets.megatron_bridge.emission import plain_key, scalar, whole
from scaffold_tools.targets.megatron_bridge.profile import Profile


@dataclass(frozen=True)
class Setting:
    """One assignment `provider.<attribute> = <code>` (or a row of CONFIG_MAPPING when `config_key` is set)."""

    attribute: str
    code: str
    comment: str = ""
    imports: tuple[tuple[str, str], ...] = ()
    """(module, name) pairs that the code needs."""
    config_key: str | None = None
    """Hugging Face key that the base class converts both ways, once it is a row of CONFIG_MAPPING."""
    expression: Expression | None = None
    """What the code was made of, where it can be turned round for the config that is exported."""
    exports: tuple[tuple[str, str], ...] = ()
    """(Hugging Face key, code over `provider`) for `megatron_to_hf_config`, where the expression does not tell it."""


@dataclass(frozen=True)
class View:
    """What a row may look at: the fact that it decides, the whole blueprint, the target's profile."""

    fact: Fact
    blueprint: Blueprint
    profile: Profile

    @property
    def value(self) -> Any:
        """The fact's value."""
        return self.fact.value

    @property
    def expression(self) -> Expression:
        """How the value follows from the config; a constant where the blueprint does not know."""
        return self.fact.expression if self.fact.expression is not None else Const(self.fact.value)

    def other(self, name: str, default: Any = None) -> Any:
        """The value of another fact."""
        return self.blueprint.value(name, default)


@dataclass(frozen=True)
class Row:
    """One rule. Exactly one of `derived` (a reason) and `settings` says what follows."""

    fact: str
    when: Callable[[View], bool]
    derived: str = ""
    """Why nothing has to be emitted."""
    settings: Callable[[View], tuple[Setting, ...]] | None = None


@dataclass(frozen=True)
class Settlement:
    """Where every fact of a blueprint went."""

    settings: tuple[Setting, ...]
    derived: dict[str, str] = field(default_factory=dict)
    """Fact -> why the base class (or another fact's setting) expresses it already."""
    gaps: tuple[Gap, ...] = ()


def decide(rows: Iterable[Row], view: View, covered: frozenset[str]) -> tuple[Setting, ...] | str | None:
    """What the first row that applies says of a fact; a fact without such a row is a gap.

    Args:
        rows: asked in this order.
        view: the fact and what surrounds it.
        covered: facts that blocks express; no row is asked about them.

    Returns:
        The settings, the reason why none is needed, or None where no row applies.
    """
    if view.fact.name in covered:
        return "a block of this family"
    row = next((row for row in rows if row.fact == view.fact.name and row.when(view)), None)
    if row is None:
        return None
    return row.derived if row.settings is None else row.settings(view)


def always(_: View) -> bool:
    """Applies to every value."""
    return True


def is_value(*values: Any) -> Callable[[View], bool]:
    """The fact has one of the values."""
    return lambda view: any(view.value == value and type(view.value) is type(value) for value in values)


def present(view: View, key: str) -> bool:
    """The config has the key."""
    return any(use.key == key for use in view.blueprint.keys)


def derives(attribute: str) -> Callable[[View], bool]:
    """The first key of CONFIG_MAPPING that this config has for the attribute is the fact's own key."""

    def holds(view: View) -> bool:
        own = plain_key(view.expression)
        keys = [key for key, target in view.profile.config_mapping if target == attribute]
        return own is not None and next((key for key in keys if key == own or present(view, key)), None) == own

    return holds


WHOLE = frozenset(
    {"num_layers", "hidden_size", "vocab_size", "num_attention_heads", "num_query_groups", "kv_channels"}
    | {"ffn_hidden_size", "seq_length"}
)
"""Attributes that are sizes."""


def assign(
    attribute: str, expression: Expression, blueprint: Blueprint, profile: Profile, comment: str = ""
) -> Setting:
    """Assign an expression; a plain key that nothing else feeds becomes a row of CONFIG_MAPPING, good both ways."""
    assert not isinstance(expression, PerLayer | LayerRule | Chosen), attribute
    present = {use.key for use in blueprint.keys}
    rivals = any(target == attribute and key in present for key, target in profile.config_mapping)
    key = plain_key(expression)
    row = key if key is not None and "." not in key and not rivals else None
    code = whole(expression) if attribute in WHOLE else scalar(expression)
    return Setting(attribute, code, comment, config_key=row, expression=expression)


def sets_attribute(attribute: str, comment: str = "") -> Callable[[View], tuple[Setting, ...]]:
    """Assign the fact\'s expression."""

    def build(view: View) -> tuple[Setting, ...]:
        if isinstance(view.expression, PerLayer | LayerRule | Chosen):
            return (Setting(attribute, literal(view.value), comment),)
        return (assign(attribute, view.expression, view.blueprint, view.profile, comment),)

    return build


def constant(attribute: str, value: Any, comment: str = "") -> Callable[[View], tuple[Setting, ...]]:
    """Assign the same value for every model that the row applies to."""
    return lambda _: (Setting(attribute, literal(value), comment),)


def size(fact: str, attribute: str) -> tuple[Row, ...]:
    """The two rows of a fact that is one attribute."""
    return (
        Row(fact, derives(attribute), derived=f"CONFIG_MAPPING gives {attribute}"),
        Row(fact, always, settings=sets_attribute(attribute)),
    )
