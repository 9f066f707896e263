"""The difference at every site, and which one is the first that rounding cannot explain."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from divergence.record import Recording
from divergence.sites import Site

NOISE_FACTOR = 20.0
"""fp32 against fp64 of the Hugging Face model moves a value; another order of additions moves it as much."""
FLOOR = 3e-6
"""Relative difference below which nothing is read into a value: some steps of fp32."""
UNKNOWN_NOISE = 1e-4
"""Where the model does not run in fp64."""


@dataclass(frozen=True)
class Difference:
    """How far one value is from where it should be."""

    site: Site
    max_abs: float
    relative: float
    """Largest difference over the root mean square of the Hugging Face value."""
    limit: float
    first_position: int | None
    """First token at which it exceeds the limit."""
    positions: int
    """How many tokens do."""
    reference: torch.Tensor

    @property
    def differs(self) -> bool:
        return not self.relative <= self.limit


def compare(sites: list[Site], seen: Recording, wide: Recording | None) -> list[Difference]:
    """Differences of all sites that the Hugging Face model has, too, with the same shape."""
    found = []
    for site in sites:
        reference = site.pick(seen)
        if reference is None:
            continue
        if what_fits(reference, site.value) is None:
            continue
        reference = what_fits(reference, site.value)
        assert reference is not None
        found.append(_difference(site, reference, None if wide is None else site.pick(wide), wide is not None))
    return found


def what_fits(reference: torch.Tensor, value: torch.Tensor) -> torch.Tensor | None:
    """The reference in the shape of the value: grouped heads repeated, heads flattened; None where shapes differ."""
    if reference.shape == value.shape:
        return reference
    if reference.dim() == value.dim() == 4 and reference.shape[1] and value.shape[1] % reference.shape[1] == 0:
        repeated = reference.repeat_interleave(value.shape[1] // reference.shape[1], 1)
        return repeated if repeated.shape == value.shape else None
    flat = reference.flatten(2)
    return flat.reshape(value.shape) if flat.shape == value.flatten(2).shape else None


def _difference(site: Site, reference: torch.Tensor, wide: torch.Tensor | None, measured: bool) -> Difference:
    scale = max(float(reference.square().mean().sqrt()), 1e-12)
    gap = (site.value - reference).abs().nan_to_num(nan=float("inf"))
    limit = UNKNOWN_NOISE
    if measured:
        fitting = None if wide is None else what_fits(wide, site.value)
        noise = 0.0 if fitting is None else float((fitting - reference).abs().max()) / scale
        limit = max(FLOOR, NOISE_FACTOR * noise)
    axis = 2 if site.what in ("scores", "value") else 1
    by_token = gap.transpose(0, axis).flatten(1).amax(1) / scale
    over = (~(by_token <= limit)).nonzero().flatten().tolist()
    largest = float(gap.max())
    return Difference(site, largest, largest / scale, limit, over[0] if over else None, len(over), reference)


def first(differences: list[Difference]) -> Difference | None:
    """The earliest site that differs."""
    return next((one for one in differences if one.differs), None)
