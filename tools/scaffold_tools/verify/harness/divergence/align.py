"""Which Hugging Face parameter each row of a Megatron parameter came from, told by content alone.

Toys are random, so a row of one matrix that equals a row of another is that row. The mapping under test is not asked:
where it is wrong, that is what has to come out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

SHIFTED = 1e-5
"""A shift by one and back moves the last bits of a weight."""


@dataclass(frozen=True)
class Source:
    """Where a Megatron matrix comes from."""

    parts: tuple[str, ...]
    """Hugging Face parameters, in the order of their first row."""
    rows: tuple[tuple[str, int], ...]
    """For each row of the Megatron matrix: parameter and its output channel."""


class Index:
    """Rows of the matrices of a Hugging Face model, by content; vectors, whole."""

    def __init__(self, model: Any) -> None:
        self.rows: dict[bytes, tuple[str, int]] = {}
        self.vectors: list[tuple[str, torch.Tensor]] = []
        for name, parameter in model.named_parameters():
            data = parameter.detach().float()
            if data.dim() == 1:
                self.vectors.append((name, data))
            elif data.dim() == 2:
                self._add(name, data.t() if _is_turned(model, name) else data)
            elif data.dim() == 3:  # stacked experts, in either orientation
                self._add(name, data.flatten(0, 1))
                self._add(name, data.transpose(1, 2).flatten(0, 1))

    def _add(self, name: str, matrix: torch.Tensor) -> None:
        for number, row in enumerate(matrix.contiguous()):
            self.rows.setdefault(_key(row), (name, number))

    def matrix(self, matrix: torch.Tensor) -> Source | None:
        """The source of a matrix [out, in]; None where a row is nowhere in the Hugging Face model."""
        found = [self.rows.get(_key(row)) for row in matrix.detach().float().contiguous()]
        rows = tuple(row for row in found if row is not None)
        if not rows or len(rows) < len(found):
            return None
        return Source(tuple(dict.fromkeys(name for name, _ in rows)), rows)

    def vector(self, vector: torch.Tensor) -> str | None:
        """The parameter with these values, or with these shifted by one, as a zero-centred norm has them."""
        data = vector.detach().float()
        for shift in (0.0, 1.0, -1.0):
            for name, held in self.vectors:
                if held.shape == data.shape and bool(((held + shift - data).abs() < SHIFTED).all()):
                    return name
        return None


def _key(row: torch.Tensor) -> bytes:
    dense = row.new_empty(row.shape).copy_(row)  # a row of one number counts as contiguous whatever its stride is
    return bytes(dense.view(torch.uint8).numpy().tobytes())


def _is_turned(model: Any, name: str) -> bool:
    """Whether a weight is [in, out], as GPT-2's Conv1D has it."""
    module = model.get_submodule(name.rpartition(".")[0])
    return type(module).__name__ == "Conv1D"


def common_module(names: Iterable[str]) -> str:
    """The innermost module that holds all these parameters; for one parameter, the module around its own."""
    split = [name.split(".")[:-1] for name in names]
    if not split:
        return ""
    shared = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    if all(len(parts) == len(shared) for parts in split):  # all of one linear: the module around it is meant
        shared = shared[:-1]
    return ".".join(shared)
