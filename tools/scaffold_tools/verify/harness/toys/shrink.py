"""Shrink the sizes of a config whose keys nobody knows: what each integer does is seen on the meta device.

`toy.shrink_config` shrinks keys by name. A model with its own modeling code may call them anything, so here each
integer that is left at the model's own value is changed alone, and the tensors' shapes and the kinds of layers tell
what it is. Keys of dicts inside the config are dotted paths (`sizes.width`).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from probes.graph.structure import find_sites
from probes.graph.trace import Recorder

from toys.layers import rounded_up
from toys.stack import find_stack, kinds, layers_needed

COUNTS = {"a": ((4, 2), (4, 4), (2, 2), (4, 1), (4,)), "b": ((6, 3), (6, 6), (6, 2), (6, 1), (6,))}
"""Heads and groups: the larger count first, ratio kept above one where the model's is."""
HEAD_DIM = {"a": 24, "b": 20}
EXPERTS = {"a": 8, "b": 12}
CHOSEN = {"a": 5, "b": 3}
"""Experts a token; no number of layers."""
EXTRA = {"a": 3, "b": 5}
"""A third count, where it is another number than the first two."""
FIRST = {"a": 1, "b": 2}
PERIOD = {"a": 3, "b": 2}
PLACED = 7
"""Layers in which a period of three shows twice."""
WIDTHS = {"a": (88, 136, 184, 208, 112, 72), "b": (108, 156, 228, 252, 132, 84)}
"""Sizes that every head count of the variant divides evenly; largest model value gets the largest."""
FREE = {"a": (12, 8, 20, 28), "b": (16, 12, 26, 36)}
"""Small sizes, largest model value first."""
MORE = (2, 4, 6, 10)
"""What may be added to a size that divides nothing and is divided by two at most; no count of heads takes them all."""
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

_KNOWN: dict[str, dict[str, str]] = {}
"""Kinds of keys by config, for the life of one job."""

Build = Callable[[dict[str, Any]], Any]


@dataclass(frozen=True)
class Outline:
    """What a config builds, without numbers."""

    shapes: dict[str, tuple[int, ...]]
    layers: int
    kinds: tuple[int, ...]


def shrink_unknown(
    small: dict[str, Any], raw: dict[str, Any], variant: str, build: Build, layers_multiple: int = 1
) -> dict[str, Any]:
    """The toy's config with the integers that `toy` left alone made small, or `small` itself where nothing is left.

    Args:
        small: what `toy.prepare` made.
        raw: the model's own config; a key is left alone when both have the same integer.
        variant: `a` or `b`.
        build: builds a model from a config.
        layers_multiple: what divides the number of layers.

    Raises:
        ValueError: no combination of small sizes gives a model that builds.
    """
    own = flat(raw)
    keys = [key for key, value in flat(small).items() if _open(key, value, own.get(key))]
    if not keys:
        return small
    shares = {key: value for key, value in own.items() if isinstance(value, float) and 0.05 < value < 1}
    start = changed(small, shares)
    found = _kinds_of(start, own, keys, build)
    depth = _depth(start, own, "place" in found.values(), build, more=int(variant == "b"), multiple=layers_multiple)
    for chosen in itertools.islice(_choices(flat(small), found, variant, depth), TRIES):
        for kept in ({}, shares):  # a share of a head may only come out even at the model's own value
            candidate = changed(small, {**kept, **chosen})
            if _runs(candidate, build):
                return candidate
    raise ValueError(f"no small sizes found for {', '.join(sorted(found))}")


def _kinds_of(start: dict[str, Any], own: dict[str, Any], keys: list[str], build: Build) -> dict[str, str]:
    """`_kinds`, once for both variants: it looks at the model's own integers alone."""
    name = json.dumps(own, sort_keys=True, default=str)
    if name not in _KNOWN:
        _KNOWN[name] = _kinds(start, keys, build)
    return {key: kind for key, kind in _KNOWN[name].items() if key in keys}


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A config with the keys of its dicts as dotted paths."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict) and not key.startswith(("rope_", "id2label", "auto_map")):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def changed(config: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """A copy of a config with values at dotted paths changed; paths that it lacks are left out."""
    copy = dict(config)
    for path, value in values.items():
        head, _, rest = path.partition(".")
        if rest and isinstance(copy.get(head), dict):
            copy[head] = changed(copy[head], {rest: value})
        elif not rest and head in copy:
            copy[head] = value
    return copy


def _open(key: str, value: Any, own: Any) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return whole and value == own and not key.endswith(("_id", "_ids"))


def _kinds(small: dict[str, Any], keys: list[str], build: Build) -> dict[str, str]:
    """What each key does.

    `layers`: there are more layers. `place`: other layers are of a kind (a first one, a period). `experts`: a stack in
    a layer grows. `chosen`: how many of those a token uses. `width`: shapes change. `count`: a number that others must
    be divisible by (heads, groups). `free`: a small size that divides nothing. `head_dim`: the width of one head.
    `reach`: neither, a number of positions (a window, a longest length).
    """
    base = _outline(small, build)
    values = flat(small)
    attention = _attention_shape(small, build)
    shown = _forward(small, build, torch.device("meta"))  # experts that are picked by data are not
    found: dict[str, str] = {}
    for key in keys:
        outlines = _tried(small, key, values[key], base, build)
        kind = _kind_of_change(values[key], base, outlines)
        if kind is not None:
            found[key] = kind
        elif values[key] > 1:
            same = outlines[0] == base  # else what fits is not asked
            fits = same and (not shown or _on_meta(small, {key: ODD}, build))
            kind = _kind_of_size(values[key], attention, base, outlines[0], fits)
            maybe = kind == "count" and shown and values[key] != attention[0]
            free = maybe and all(_on_meta(small, {key: values[key] + more}, build) for more in MORE)
            found[key] = "free" if free else kind
    experts = max((values[key] for key, kind in found.items() if kind == "experts"), default=0)
    for key, kind in found.items():
        if kind in ("reach", "count") and values[key] < experts and _outline_same(small, key, base, build):
            found[key] = "chosen"
    return found


def _tried(small: dict[str, Any], key: str, value: int, base: Outline | None, build: Build) -> list[Outline | None]:
    """What twice the value builds; where that shows nothing, also what its neighbours build."""
    found = [_outline(changed(small, {key: value * 2}), build)]
    for other in (value + 1, value - 1):
        if other > 0 and found[-1] in (None, base):
            found.append(_outline(changed(small, {key: other}), build))
    return found


def _kind_of_change(value: int, base: Outline | None, outlines: list[Outline | None]) -> str | None:
    """`layers`, `place` or `experts`; None for everything that leaves the layers as they are."""
    if base is None:
        return None
    for other in outlines:
        if other is not None and other.layers != base.layers:
            return "layers"
    for other in outlines:
        if other is not None and other.kinds != base.kinds:
            return "place"
    double = outlines[0]
    if value < 2 or double is None or double == base:
        return None
    more = set(double.shapes) - set(base.shapes)
    stacks = [(one, double.shapes.get(name, ())) for name, one in base.shapes.items() if len(one) == 3 and one[1] > 1]
    if more or any(one[0] == value and other[:1] == (2 * value,) and other[1:] == one[1:] for one, other in stacks):
        return "experts"
    return None


def _kind_of_size(
    value: int, attention: tuple[int, int], base: Outline | None, double: Outline | None, fits: bool
) -> str:
    """Args: `fits`: a forward pass takes an odd number in the place of the value."""
    heads, head_dim = attention
    same = double == base
    if value == head_dim != heads and not same:
        return "head_dim"
    if value == heads and heads != head_dim:
        return "count"
    if same and fits:
        return "reach"
    return "count" if value <= LONGEST_COUNT and (double is None or same or value < 64) else "width"


def _on_meta(small: dict[str, Any], values: dict[str, Any], build: Build) -> bool:
    return _forward(changed(small, values), build, torch.device("meta"))


def _outline_same(small: dict[str, Any], key: str, base: Outline | None, build: Build) -> bool:
    """Whether a number is no size: beside experts it is how many of them a token uses."""
    return _outline(changed(small, {key: 1}), build) == base


def _attention_shape(config: dict[str, Any], build: Build) -> tuple[int, int]:
    """(query heads, width of a head) of the model at its own size, from a forward pass without numbers.

    The pass may stop at the first experts, whose choice needs numbers: the attention before them was seen by then.
    """
    ids = torch.zeros((1, LENGTH), dtype=torch.int64, device="meta")
    try:
        with torch.device("meta"):
            model = build(config)
            recorder = Recorder(model, ids)
            math_kernel = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
            with contextlib.suppress(Exception), torch.no_grad(), math_kernel, recorder:
                model(input_ids=ids, use_cache=False)
        shape = recorder.graph.tensors[find_sites(recorder.graph)[0].q].shape
        return int(shape[0]), int(shape[-1])
    except Exception:  # any refusal of the model's own code; thresholds decide then
        return 0, 0


def _outline(config: dict[str, Any], build: Build) -> Outline | None:
    try:
        with torch.device("meta"):
            model = build(config)
        layers = find_stack(model)
        shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        return Outline(shapes, len(layers), tuple(kinds(layers)[0]))
    except Exception:  # any refusal of the model's own code
        return None


def _depth(
    config: dict[str, Any], own: dict[str, Any], placed: bool, build: Build, *, more: int, multiple: int
) -> int:
    """Layers of the toy: `more` than are needed, a multiple, and no list of the config is too short for them."""
    with torch.device("meta"):
        layers = find_stack(build(config))
    needed = rounded_up(max(layers_needed(layers), PLACED if placed else 0) + more, multiple)
    listed = any(isinstance(value, list) and len(value) == len(layers) for value in own.values())
    most = len(layers) - 1 + more
    return min(needed, most // multiple * multiple or most) if listed and len(layers) > 1 else needed


def _choices(values: dict[str, Any], found: dict[str, str], variant: str, depth: int) -> Iterator[dict[str, int]]:
    """Assignments of small values, the likeliest first; the order of sizes is the model's own."""
    fixed = {key: depth for key, kind in found.items() if kind == "layers"}
    fixed |= {key: HEAD_DIM[variant] for key, kind in found.items() if kind == "head_dim"}
    fixed |= {key: EXPERTS[variant] for key, kind in found.items() if kind == "experts"}
    fixed |= {key: CHOSEN[variant] for key, kind in found.items() if kind == "chosen" and values[key] > 1}
    for key in (key for key, kind in found.items() if kind == "place"):
        fixed[key] = FIRST[variant] if values[key] == 1 else PERIOD[variant]
    free = sorted((key for key, kind in found.items() if kind == "free"), key=lambda key: -values[key])
    fixed |= dict(zip(free, FREE[variant], strict=False))
    reaches = [key for key, kind in found.items() if kind == "reach"]
    counts = sorted((key for key, kind in found.items() if kind == "count"), key=lambda key: -values[key])
    widths = sorted((key for key, kind in found.items() if kind == "width"), key=lambda key: -values[key])
    for numbers in COUNTS[variant]:
        plain = len(set(values[key] for key in counts)) == 1 and len(counts) > 1
        filled = [numbers[0] if plain else numbers[min(place, len(numbers) - 1)] for place in range(len(counts))]
        for place in range(2, len(counts)):
            known = [values[key] for key in counts[:place]]
            own = values[counts[place]]
            filled[place] = filled[known.index(own)] if own in known else EXTRA[variant]
        for sizes in itertools.permutations(WIDTHS[variant], min(len(widths), len(WIDTHS[variant]))):
            sized = {**fixed, **dict(zip(counts, filled, strict=True)), **dict(zip(widths, sizes, strict=False))}
            for near in itertools.product((True, False), repeat=min(len(reaches), 3)):
                pairs = itertools.zip_longest(reaches, near, fillvalue=False)
                yield sized | {key: REACH[variant][0 if one else 1] + place for place, (key, one) in enumerate(pairs)}


def _runs(config: dict[str, Any], build: Build) -> bool:
    outline = _outline(config, build)
    if outline is None or sum(map(math.prod, outline.shapes.values())) > LARGEST:
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
