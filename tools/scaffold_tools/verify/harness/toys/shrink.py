"""Shrink the sizes of a config whose keys nobody knows: what each integer does is seen on the meta device.

`toy.shrink_config` shrinks keys by name. A model with its own modeling code may call them anything, so here each
integer that is left at the model's own value is changed alone and the tensors' shapes tell what it is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from probes.graph.structure import find_sites
from probes.graph.trace import record

LAYERS = {"a": 3, "b": 4}
COUNTS = {"a": ((4, 2), (4, 4), (2, 2), (4, 1), (4,)), "b": ((6, 3), (6, 6), (6, 2), (6, 1), (6,))}
"""Heads and groups: the larger count first, ratio kept above one where the model's is."""
HEAD_DIM = {"a": 24, "b": 20}
WIDTHS = {"a": (96, 136, 176, 208, 28, 32), "b": (120, 156, 228, 252, 18, 36)}
"""Sizes that every head count of the variant divides or that stand alone; largest model value gets the largest."""
REACH = {"a": (5, 64), "b": (7, 72)}
"""Positions: a window below the sequence length, or a longest length above it."""
LONGEST_COUNT = 128
ODD = 7
"""A number that no usual width is divisible by."""
LENGTH = 40
"""Tokens of a trial, more than the probe uses."""
LARGEST = 30_000_000
"""Parameters of a toy that is still quick in float64."""
TRIES = 60

Build = Callable[[dict[str, Any]], Any]


def shrink_unknown(small: dict[str, Any], raw: dict[str, Any], variant: str, build: Build) -> dict[str, Any]:
    """The toy's config with the integers that `toy` left alone made small, or `small` itself where nothing is left.

    Args:
        small: what `toy.prepare` made.
        raw: the model's own config; a key is left alone when both have the same integer.
        variant: `a` or `b`.
        build: builds a model from a config.

    Raises:
        ValueError: no combination of small sizes gives a model that builds.
    """
    keys = [key for key, value in small.items() if _open(key, value, raw.get(key))]
    if not keys:
        return small
    shares = {key: value for key, value in raw.items() if isinstance(value, float) and 0.05 < value < 1}
    kinds = _kinds({**small, **shares}, keys, build)
    for chosen in itertools.islice(_choices(small, kinds, variant), TRIES):
        for kept in ({}, shares):  # a share of a head may only come out even at the model's own value
            candidate = {**small, **kept, **chosen}
            if _runs(candidate, build):
                return candidate
    raise ValueError(f"no small sizes found for {', '.join(sorted(kinds))}")


def _open(key: str, value: Any, own: Any) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool) and value > 1
    return whole and value == own and not key.endswith(("_id", "_ids"))


def _kinds(small: dict[str, Any], keys: list[str], build: Build) -> dict[str, str]:
    """What each key does.

    `layers`: names of tensors change. `width`: shapes change. `count`: a number that others must be divisible by
    (heads, groups). `head_dim`: the width of one head.
    `reach`: neither, a number of positions (a window, a longest length).
    """
    base = _shapes(small, build)
    heads, head_dim = _attention_shape(small, build)
    found: dict[str, str] = {}
    for key in keys:
        value = small[key]
        changed = _shapes({**small, key: value * 2}, build)
        fewer = _shapes({**small, key: value - 1}, build)
        if base is not None and any(one is not None and set(one) != set(base) for one in (changed, fewer)):
            found[key] = "layers"
        elif value == head_dim != heads and changed != base:
            found[key] = "head_dim"
        elif value == heads and heads != head_dim:
            found[key] = "count"
        elif changed == base and _forward({**small, key: ODD}, build, torch.device("meta")):
            found[key] = "reach"
        elif value <= LONGEST_COUNT and (changed is None or changed == base or value < 64):
            found[key] = "count"
        else:
            found[key] = "width"
    return found


def _attention_shape(config: dict[str, Any], build: Build) -> tuple[int, int]:
    """(query heads, width of a head) of the model at its own size, from a forward pass without numbers."""
    try:
        with torch.device("meta"):
            graph = record(build(config), torch.zeros((1, LENGTH), dtype=torch.int64))
        shape = graph.tensors[find_sites(graph)[0].q].shape
        return int(shape[0]), int(shape[-1])
    except Exception:  # any refusal of the model's own code; thresholds decide then
        return 0, 0


def _shapes(config: dict[str, Any], build: Build) -> dict[str, tuple[int, ...]] | None:
    try:
        with torch.device("meta"):
            model = build(config)
        return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    except Exception:  # any refusal of the model's own code
        return None


def _choices(small: dict[str, Any], kinds: dict[str, str], variant: str) -> Any:
    """Assignments of small values, the likeliest first; the order of sizes is the model's own."""
    fixed = {key: LAYERS[variant] for key, kind in kinds.items() if kind == "layers"}
    fixed |= {key: HEAD_DIM[variant] for key, kind in kinds.items() if kind == "head_dim"}
    reaches = [key for key, kind in kinds.items() if kind == "reach"]
    counts = sorted((key for key, kind in kinds.items() if kind == "count"), key=lambda key: -small[key])
    widths = sorted((key for key, kind in kinds.items() if kind == "width"), key=lambda key: -small[key])
    for numbers in COUNTS[variant]:
        plain = len(set(small[key] for key in counts)) == 1 and len(counts) > 1
        filled = [numbers[0] if plain else numbers[min(place, len(numbers) - 1)] for place in range(len(counts))]
        for sizes in itertools.permutations(WIDTHS[variant], min(len(widths), len(WIDTHS[variant]))):
            sized = {**fixed, **dict(zip(counts, filled, strict=True)), **dict(zip(widths, sizes, strict=False))}
            for near in itertools.product((True, False), repeat=min(len(reaches), 3)):
                pairs = itertools.zip_longest(reaches, near, fillvalue=False)
                yield sized | {key: REACH[variant][0 if one else 1] + place for place, (key, one) in enumerate(pairs)}


def _runs(config: dict[str, Any], build: Build) -> bool:
    shapes = _shapes(config, build)
    if shapes is None or sum(map(math.prod, shapes.values())) > LARGEST:
        return False
    return _forward(config, build, torch.device("cpu"))


def _forward(config: dict[str, Any], build: Build, device: torch.device) -> bool:
    try:
        with device, torch.no_grad():
            model = build(config)
            model(input_ids=torch.zeros((1, LENGTH), dtype=torch.int64), use_cache=False)
        return True
    except Exception:  # any refusal of the model's own code
        return False


def vocabulary(model: torch.nn.Module) -> int:
    """Rows of the first embedding table."""
    tables = [module for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    if not tables:
        raise ValueError("the model has no embedding table")
    return tables[0].num_embeddings
