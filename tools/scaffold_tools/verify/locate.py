"""First divergence: where an integration and the Hugging Face model part, and what is likely wrong there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaffold_tools.verify.lane import LaneSession
from scaffold_tools.verify.run import Integration


@dataclass(frozen=True)
class Site:
    """One value that both models compute on the same tokens."""

    megatron: str
    """The Megatron module."""
    hugging_face: str
    what: str
    """`input`, `normed`, `output`, `scores`, `value`, `context`, `routing`, `logits`."""
    layer: int | None
    culprit: str
    """The module to blame where this is the first value that differs: everything before it agreed."""
    max_abs: float | None
    """Largest difference; None where it is not finite."""
    relative: float | None
    """The same over the root mean square of the Hugging Face value."""
    limit: float
    """What rounding explains: measured, fp32 against fp64 of the Hugging Face model."""
    differs: bool
    first_position: int | None
    """First token at which it differs."""
    positions: int
    """Tokens at which it differs."""


@dataclass(frozen=True)
class Cause:
    """An explanation that the values of the first divergence bear out."""

    cause: str
    evidence: str


@dataclass(frozen=True)
class Divergence:
    """Both models side by side."""

    bridge: str
    """`module:Class` that AutoBridge picked."""
    toy: str
    sites: tuple[Site, ...]
    """In the order in which Megatron computes them."""
    first: int | None
    """Index of the first site that differs; None where all agree or nothing could be compared."""
    causes: tuple[Cause, ...]
    problems: tuple[str, ...]
    """Checks that failed before anything could be compared, such as a tensor that nothing maps."""

    @property
    def found(self) -> Site | None:
        """The first site that differs."""
        return None if self.first is None else self.sites[self.first]

    @property
    def agrees(self) -> bool:
        """Everything was compared and nothing differs."""
        return bool(self.sites) and self.first is None and not self.problems


def locate_divergence(
    lane: LaneSession,
    integration: Integration,
    *,
    config: dict[str, Any],
    architecture: str,
    variant: str = "a",
    seed: int = 0,
    model_folder: Path | None = None,
    trust_remote_code: bool = False,
    timeout: float = 300,
    on_progress: Callable[[str], None] | None = None,
) -> Divergence:
    """Run an integration beside the Hugging Face model on one toy.

    Args:
        lane: where it runs.
        integration: what is looked into.
        config: the model's raw config.json.
        architecture: the Hugging Face class.
        variant: the toy, `a` or `b`.
        seed: of weights and tokens.
        model_folder: the model's own folder, for modeling code that is trusted.
        trust_remote_code: whether that code may run.
        timeout: seconds for all of it.
        on_progress: told in one line what runs.

    Raises:
        LaneJobFailed: the job itself broke.
        EnvironmentLacks: the lane is missing.
    """
    with tempfile.TemporaryDirectory(prefix="scaffold-locate-") as scratch:
        request = {
            "integration": integration.as_request(),
            "config": config,
            "architecture": architecture,
            "variants": [variant],
            "seed": seed,
            "workdir": scratch,
            "model_folder": str(model_folder.resolve()) if model_folder else None,
            "trust_remote_code": trust_remote_code,
        }
        answer = lane.call(integration.jobs.locate, request, timeout=timeout, on_progress=on_progress)
    return Divergence(
        bridge=answer["bridge"],
        toy=answer["toy"],
        sites=tuple(Site(**site) for site in answer["sites"]),
        first=answer["first"],
        causes=tuple(Cause(**cause) for cause in answer["causes"]),
        problems=tuple(answer["problems"]),
    )
