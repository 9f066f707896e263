"""Rules as rows, and how their evidence becomes claims: tensors win over keys, and what disagrees is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from scaffold_tools.classify.evidence import Evidence
from scaffold_tools.classify.signals import Signals


class Rule(NamedTuple):
    """One sign of one claim."""

    claim: str
    source: Literal["key", "tensor"]
    detect: Callable[[Signals], str | None]
    """The evidence in words, or None."""
    reason: str
    """Why the sign means the claim."""


@dataclass(frozen=True)
class Claim:
    """Something said about the model, with why it is believed."""

    name: str
    value: Any
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class Disagreement:
    """Two sources that cannot both be right."""

    subject: str
    detail: str


def gather(rules: tuple[Rule, ...], claim: str, signals: Signals) -> dict[str, tuple[Evidence, ...]]:
    """Evidence for one claim, `key` and `tensor` apart."""
    found: dict[str, list[Evidence]] = {"key": [], "tensor": []}
    for rule in rules:
        if rule.claim == claim and (detail := rule.detect(signals)) is not None:
            found[rule.source].append(Evidence(rule.source, f"{detail}: {rule.reason}"))
    return {source: tuple(items) for source, items in found.items()}


def weigh(
    claim: str, evidence: dict[str, tuple[Evidence, ...]], *, tensors_decide: bool
) -> tuple[bool, tuple[Evidence, ...], Disagreement | None]:
    """Whether the claim holds. Headers that were read from the checkpoint (`tensors_decide`) have the last word."""
    keys, tensors = evidence["key"], evidence["tensor"]
    if tensors_decide and keys and not tensors:
        return False, (), Disagreement(claim, f"{keys[0].detail}; but no tensor of the checkpoint shows it")
    if tensors_decide and tensors and not keys:
        return True, tensors, Disagreement(claim, f"{tensors[0].detail}; but no config key announces it")
    return bool(keys or tensors), (*tensors, *keys), None
