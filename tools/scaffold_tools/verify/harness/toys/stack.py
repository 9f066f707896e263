"""The stack of decoder layers of a built model: how many there are, and which are of a kind, whatever their names."""

from __future__ import annotations

from typing import Any

from toys.layers import period
from toys.rows import MAX_TOY_LAYERS

PLAIN = (bool, int, float, str, type(None))
INDEXED = 9
"""Layers of a toy whose layers know their number: code may look at it where no attribute shows it."""
ALIKE = 3
"""Layers of a toy whose layers are all alike."""


def find_stack(model: Any) -> list[Any]:
    """The layers: the module list with the most parameters; empty where there is none."""
    import torch

    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    sizes = [sum(tensor.numel() for tensor in one.parameters()) for one in lists]
    return list(lists[sizes.index(max(sizes))]) if lists else []


def kinds(layers: list[Any]) -> tuple[list[int], bool]:
    """The number of each layer's kind, in order of appearance, and whether layers hold their own number.

    Two layers are of a kind when their modules have the same classes, tensors and plain attributes, but for those that
    count the layers.
    """
    seen = [_attributes(layer) for layer in layers]
    counting = {
        place
        for place in (seen[0] if seen else ())
        if len(seen) > 1 and [one.get(place) for one in seen] in (_count(seen, 0), _count(seen, 1))
    }
    texts = [repr(sorted((place, value) for place, value in one.items() if place not in counting)) for one in seen]
    order = list(dict.fromkeys(texts))
    return [order.index(text) for text in texts], bool(counting)


def _count(seen: list[Any], start: int) -> list[int]:
    return list(range(start, start + len(seen)))


def layers_needed(layers: list[Any]) -> int:
    """How many layers a toy has: two periods and one layer more, at most `MAX_TOY_LAYERS`."""
    found, numbered = kinds(layers)
    if len(set(found)) > 1:
        return min(2 * period([(kind,) for kind in found]) + 1, MAX_TOY_LAYERS)
    return INDEXED if numbered else ALIKE


def _attributes(layer: Any) -> dict[str, Any]:
    """Classes, shapes and plain attributes of a layer's modules, by place."""
    found: dict[str, Any] = {}
    for name, module in layer.named_modules():
        found[f"{name}:class"] = type(module).__name__
        found |= {f"{name}.{key}": repr(tuple(one.shape)) for key, one in module.named_parameters(recurse=False)}
        for key, value in vars(module).items():
            if not key.startswith("_") and isinstance(value, PLAIN):
                found[f"{name}.{key}"] = value if type(value) is int else repr(value)
    return {place: value if type(value) is int else str(value) for place, value in found.items()}
