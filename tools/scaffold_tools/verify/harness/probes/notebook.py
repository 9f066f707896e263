"""Where measurements are written down: facts, roles of tensors, and what could not be measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from probes.graph.structure import Linear, Norm
from probes.graph.values import Unmeasured


class Notebook:
    """Collects what was measured; a measurement that raises becomes a failure with its subject."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}
        self.where: dict[str, str] = {}
        self.roles: list[dict[str, Any]] = []
        self.failures: list[dict[str, Any]] = []

    def attempt(self, subject: str, step: Callable[[], Any], where: str | None = None) -> Any:
        """The result of `step`, or None after noting why there is none."""
        try:
            return step()
        except Unmeasured as reason:
            self.fail(subject, str(reason), where)
        except Exception as error:
            self.fail(subject, f"the measurement broke: {type(error).__name__}: {error}", where)
        return None

    def fail(self, subject: str, reason: str, where: str | None = None) -> None:
        """Note something that could not be measured or that no rule accounts for."""
        entry = {"subject": subject, "reason": reason[:400], "where": where.rsplit("/", 1)[-1] if where else None}
        if entry not in self.failures:
            self.failures.append(entry)

    def layered(self, name: str, values: list[Any], where: str | None = None) -> None:
        """A per-layer fact: one value where all layers agree, else `{"per_layer": [...]}`."""
        alike = all(value == values[0] for value in values) or close(values)
        self.facts[name] = values[0] if alike else {"per_layer": values}
        if where:
            self.where[name] = where.rsplit("/", 1)[-1]

    def fact(self, name: str, value: Any, where: str | None = None) -> None:
        """A fact of the whole model."""
        self.layered(name, [value], where)


def close(values: list[Any]) -> bool:
    """Whether all values are floats and agree within measuring noise."""
    if not all(isinstance(value, float) for value in values):
        return False
    return max(values) - min(values) <= 1e-5 * max(map(abs, values))


def note_linear(book: Notebook, role: str, linear: Linear, packing: str | None = None) -> None:
    """Write down the role of a projection's weight and bias."""
    note_tensor(book, role, linear.weight, "weight", packing, transposed=linear.transposed)
    if linear.bias:
        note_tensor(book, role, linear.bias, "bias", packing)


HEADS = "heads"
"""Packing of tensors of which every head has one."""


def note_norm(book: Notebook, role: str, norm: Norm) -> None:
    """Write down the role of a norm's weight and bias."""
    if norm.weights:
        for param, names in (("weight", norm.weights), ("bias", norm.biases)):
            for name in names:
                note_tensor(book, role, name, param, HEADS)
        return
    if norm.weight:
        note_tensor(book, role, norm.weight, "weight")
    if norm.bias:
        note_tensor(book, role, norm.bias, "bias")


def note_tensor(
    book: Notebook, role: str, name: str, param: str, packing: str | None = None, *, transposed: bool = False
) -> None:
    """Write down the role of one tensor; `packing` holds every layout that fits, separated by `|`."""
    row = {"role": role, "tensor": name, "param": param, "packing": packing}
    book.roles.append(row | ({"transposed": True} if transposed else {}))


def agree(book: Notebook, name: str, values: list[Any], where: str | None) -> None:
    """Note a fact that all norms have to share; where they differ, that too."""
    if all(value == values[0] for value in values) or close(values):
        book.fact(name, values[0], where)
    else:
        seen = ", ".join(dict.fromkeys(str(value) for value in values))
        book.fail(name, f"differs between the model's norms: {seen}", where)
        book.fact(name, values[0], where)
