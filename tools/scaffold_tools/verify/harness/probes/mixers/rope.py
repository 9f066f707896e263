"""The rotation of queries and keys, recovered from their values before and after it."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch

from probes.graph.values import TOLERANCE, Unmeasured, clean, ratio


@dataclass(frozen=True)
class Rotation:
    """y_p(s) = factor * exp(i * s * inv_freq_p) * x_p(s), for each pair of dimensions p."""

    pairing: str
    """`half`: dimension i with i + dim/2. `interleaved`: 2i with 2i + 1."""
    dim: int
    inv_freq: tuple[float, ...]
    factor: float
    rest_factor: float
    """Factor on the dimensions that are not rotated (1 where all are)."""

    @property
    def reversed(self) -> bool:
        """Whether angles fall with the position."""
        return all(frequency < 0 for frequency in self.inv_freq)


def fit_rotation(before: torch.Tensor, after: torch.Tensor) -> Rotation | None:
    """Recover the rotation between two [heads, S, dim] tensors; None when there is none.

    Raises:
        Unmeasured: the two are related by something other than a rotation of pairs by position.
    """
    if before.shape != after.shape:
        raise Unmeasured(f"queries change from {tuple(before.shape)} to {tuple(after.shape)} between norm and product")
    if ratio(after, before) is not None:
        return None
    still = [index for index in range(before.shape[-1]) if ratio(after[..., index], before[..., index]) is not None]
    turned = [index for index in range(before.shape[-1]) if index not in still]
    pairs = _pairs(before, after, turned)
    dim = len(turned)
    if turned != list(range(dim)):
        raise Unmeasured(f"rotated dimensions {turned[0]}..{turned[-1]} of {before.shape[-1]}, not the first {dim}")
    pairing = _pairing(pairs, dim)
    turns = [_turn(before, after, pair) for pair in pairs]
    factors = torch.stack([turn.abs() for turn in turns])
    factor = float(factors.mean())
    if float((factors - factor).abs().max()) > 50 * TOLERANCE * factor:
        raise Unmeasured("the rotation scales positions or dimensions differently")
    frequencies = tuple(_frequency(torch.angle(turn)) for turn in turns)
    rest = ratio(after[..., still], before[..., still]) if still else 1.0
    return Rotation(pairing, dim, frequencies, clean(factor), rest if rest is not None else math.nan)


def _pairs(before: torch.Tensor, after: torch.Tensor, turned: list[int]) -> list[tuple[int, int]]:
    """Partners: the two dimensions whose squares keep their sum (up to one factor) in every head and position."""
    left, found = list(turned), []
    while left:
        first = left.pop(0)
        mates = [
            mate
            for mate in left
            if ratio(_energy(after, first, mate).sqrt(), _energy(before, first, mate).sqrt()) is not None
        ]
        if len(mates) != 1:
            raise Unmeasured(f"dimension {first} rotates with {len(mates)} others")
        left.remove(mates[0])
        found.append((first, mates[0]))
    return found


def _energy(heads: torch.Tensor, first: int, second: int) -> torch.Tensor:
    return heads[..., first].square() + heads[..., second].square()


def _pairing(pairs: list[tuple[int, int]], dim: int) -> str:
    if pairs == [(index, index + dim // 2) for index in range(dim // 2)]:
        return "half"
    if pairs == [(index, index + 1) for index in range(0, dim, 2)]:
        return "interleaved"
    shown = ", ".join(f"{a}+{b}" for a, b in itertools.islice(pairs, 4))
    raise Unmeasured(f"dimensions rotate in the pairs {shown}, ...")


def _turn(before: torch.Tensor, after: torch.Tensor, pair: tuple[int, int]) -> torch.Tensor:
    """[S] complex factors, averaged over the heads."""
    x = torch.complex(before[..., pair[0]], before[..., pair[1]])
    y = torch.complex(after[..., pair[0]], after[..., pair[1]])
    return (y * x.conj()).sum(0) / x.abs().square().sum(0)


def _frequency(angles: torch.Tensor) -> float:
    """Radians a position, from the angles [S] at positions 0, 1, 2, ..."""
    position = torch.arange(len(angles), dtype=torch.float64)
    if abs(float(angles[0])) > 1e-5:
        raise Unmeasured("position 0 is rotated")
    rate = float(angles[1])
    for upto in (2, 4, 8, 16, len(angles)):  # a longer lever at each step, so that rounding of one angle stays small
        part, where = angles[: upto + 1], position[: upto + 1]
        whole = part + 2 * math.pi * torch.round((rate * where - part) / (2 * math.pi))
        rate = float((whole * where).sum() / where.square().sum())
    if float((whole - rate * position[: len(whole)]).abs().max()) > 1e-3:
        raise Unmeasured("the angle does not grow evenly with the position")
    return rate
