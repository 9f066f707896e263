"""What an attention computes: heads, packing of fused projections, score scale and softcap, window, q/k norm."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from probes.graph.structure import Norm
from probes.graph.trace import Graph, Node
from probes.graph.values import TOLERANCE, Bend, Unmeasured, bend, clean, is_scalar_factor, misfit, ratio, unscaled
from probes.skeleton import Layer, unused_operators

MASKED = -9.0e3
"""Scores at or below this are masked (masks are -inf, the type's minimum, or -1e4)."""


@dataclass(frozen=True)
class Heads:
    """Queries, keys and values as multiplied, and the queries and keys before their rotation, all [heads, S, dim]."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    q_before: torch.Tensor
    k_before: torch.Tensor
    groups: int
    packing: str | None
    clip: float | None
    norm_after_rope: bool | None


def read_heads(graph: Graph, layer: Layer) -> Heads:
    """Bring the operands of one attention into [heads, S, dim], and find where they come from.

    Raises:
        Unmeasured: merged heads, unusual grouping, or a fused projection of unknown packing.
    """
    q_value, k_value = unscaled(graph, layer.site.q), unscaled(graph, layer.site.k)
    count = graph.tensors[layer.site.q].shape[0]
    q = arrange(graph, q_value, count)
    k_all = graph.tensors[layer.site.k].transpose(1, 2).double()
    k_all = k_all * _undo(graph, k_value, layer.site.k)
    k, groups = _distinct(k_all)
    single = graph.tensors[layer.site.v].double() if layer.single_values is None else layer.single_values
    v, value_groups = _distinct(single)
    if groups != value_groups:
        raise Unmeasured(f"{groups} key heads and {value_groups} value heads")
    packing, parts = _parts(graph, layer, groups, q, v)
    clip, clipped = _clip(graph, layer, parts)
    q_norm, k_norm = layer.norms.get("norm.q"), layer.norms.get("norm.k")
    after = None
    if q_norm is not None and k_norm is not None:
        after = graph.part_of(q_norm.x) not in _direct(graph, layer)
    before_q, after_q = _around_rope(graph, q_norm, after, (clipped["q"], q))
    before_k, after_k = _around_rope(graph, k_norm, after, (clipped["k"], k))
    return Heads(after_q, after_k, v, before_q, before_k, groups, packing, clip, after)


def _direct(graph: Graph, layer: Layer) -> set[int]:
    outputs = {graph.part_of(layer.q.y), graph.resolve(layer.q.y), layer.q.y}
    for node in graph.nodes:
        if node.op == "clamp" and graph.part_of(node.inputs[0]) in outputs:
            outputs.update(node.outputs)
    return outputs


def _around_rope(
    graph: Graph, norm: Norm | None, after: bool | None, ends: tuple[torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """(before, after) the rotation; `ends` are the projection's output and the product's operand."""
    projected, final = ends
    count = final.shape[0]
    if norm is None:
        return projected, final
    if after:
        return projected, arrange(graph, norm.source, count)
    return arrange(graph, norm.y, count), final


def arrange(graph: Graph, value: int, count: int) -> torch.Tensor:
    """A value as [heads, S, dim]."""
    tensor, length = graph.tensors[value].double(), graph.length
    dim = tensor.numel() // (count * length)
    shape = [size for size in tensor.shape if size != 1] if tensor.dim() > 3 else list(tensor.shape)
    if tensor.dim() >= 3 and list(tensor.shape[-3:]) == [count, length, dim]:
        return tensor.reshape(count, length, dim)
    if tensor.dim() >= 3 and list(tensor.shape[-3:]) == [count, dim, length]:
        return tensor.reshape(count, dim, length).transpose(1, 2)
    if shape and dim * count * length == tensor.numel() and (length in shape or shape[0] == length * count):
        return tensor.reshape(length, count, dim).transpose(0, 1)
    raise Unmeasured(f"queries or keys of shape {tuple(tensor.shape)}")


def _undo(graph: Graph, before: int, after: int) -> float:
    """1 / (the scalar factors between two values)."""
    ordered = graph.tensors[before].double().flatten().abs().sum()
    scaled = graph.tensors[after].double().abs().sum()
    repeats = graph.tensors[after].numel() / graph.tensors[before].numel()
    return float(ordered * repeats / scaled)


def _distinct(heads: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Heads without the copies made for grouped queries; consecutive query heads must share one."""
    kept = [0]
    for index in range(1, heads.shape[0]):
        same = [one for one in kept if torch.equal(heads[one], heads[index])]
        if same and same[0] != kept[-1]:
            raise Unmeasured("query heads of one group do not lie side by side")
        if not same:
            kept.append(index)
    size = heads.shape[0] // len(kept)
    if kept != list(range(0, heads.shape[0], size)):
        raise Unmeasured("groups of unequal size")
    return heads[kept], len(kept)


def _parts(
    graph: Graph, layer: Layer, groups: int, q: torch.Tensor, v: torch.Tensor
) -> tuple[str | None, dict[str, torch.Tensor]]:
    """Outputs of the projections by part, [heads, S, dim]; for a fused projection its packing is found by matching."""
    count = q.shape[0]
    nodes = {layer.q.node, layer.k.node, layer.v.node}
    length, dim, value_dim = graph.length, q.shape[-1], v.shape[-1]
    if len(nodes) == 3:
        share = 2 if layer.q.outputs == 2 * count * dim else 1  # the other half gates the output
        pairs = (("q", layer.q, count), ("k", layer.k, groups), ("v", layer.v, groups))
        parts = {
            name: graph.rows(linear.y).reshape(length, heads, -1).transpose(0, 1) for name, linear, heads in pairs
        }
        return None, parts | {"q": parts["q"][..., : parts["q"].shape[-1] // share]}
    if len(nodes) == 2 and layer.k.node == layer.v.node and dim == value_dim:
        return _key_value_parts(graph, layer, groups, q, v)
    if len(nodes) == 2 or dim != value_dim:
        raise Unmeasured("two of q, k and v share a projection")
    whole = graph.rows(layer.q.y)
    fitting = [
        (packing, parts)
        for packing, parts in _packings(whole, count, groups, dim)
        if torch.equal(_clipped_like(parts["v"], v), v) and _feeds(graph, layer, parts["q"], q)
    ]
    if not fitting:
        raise Unmeasured("a fused q, k, v projection of unknown packing")
    return "|".join(packing for packing, _ in fitting), fitting[0][1]


def _key_value_parts(
    graph: Graph, layer: Layer, groups: int, q: torch.Tensor, v: torch.Tensor
) -> tuple[str, dict[str, torch.Tensor]]:
    """As `_parts`, for queries of their own and one projection of keys and values."""
    count, length, dim = q.shape[0], graph.length, q.shape[-1]
    query = graph.rows(layer.q.y).reshape(length, count, -1).transpose(0, 1)
    whole = graph.rows(layer.k.y)
    fitting = []
    for order in ("kv", "vk"):
        halves = whole.reshape(length, 2, groups, dim).unbind(1)
        turns = whole.reshape(length, groups, 2, dim).unbind(2)
        for word, pieces in (("concat", halves), ("grouped", turns)):
            parts = {name: piece.transpose(0, 1) for name, piece in zip(order, pieces, strict=True)}
            if torch.equal(_clipped_like(parts["v"], v), v):
                fitting.append((f"{word}:{','.join(order)}", parts))
    if not fitting or query.shape[-1] != dim:
        raise Unmeasured("a fused projection of keys and values of unknown packing")
    return "|".join(packing for packing, _ in fitting), {"q": query, **fitting[0][1]}


def _clipped_like(part: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    return part.clamp(float(seen.min()), float(seen.max()))


def _packings(whole: torch.Tensor, count: int, groups: int, dim: int) -> list[tuple[str, dict[str, torch.Tensor]]]:
    """Candidate layouts of a fused projection [S, (heads + 2 groups) * dim]."""
    length, share = whole.shape[0], count // groups
    found = []
    for order in itertools.permutations("qkv"):
        sizes = [count if name == "q" else groups for name in order]
        pieces = whole.reshape(length, -1, dim).split(sizes, dim=1)
        found.append((f"concat:{','.join(order)}", {n: p.transpose(0, 1) for n, p in zip(order, pieces, strict=True)}))
    for order in itertools.permutations("qkv"):
        sizes = [share if name == "q" else 1 for name in order]
        pieces = whole.reshape(length, groups, share + 2, dim).split(sizes, dim=2)
        label = "per_head" if share == 1 else "grouped"
        parts = {n: p.reshape(length, -1, dim).transpose(0, 1) for n, p in zip(order, pieces, strict=True)}
        found.append((f"{label}:{','.join(order)}", parts))
    for blocks in range(2, groups + 1):  # some code cuts the heads into a fixed number of blocks
        if groups % blocks:
            continue
        for order in itertools.permutations("qkv"):
            sizes = [(count if name == "q" else groups) // blocks for name in order]
            pieces = whole.reshape(length, blocks, sum(sizes), dim).split(sizes, dim=2)
            parts = {n: p.reshape(length, -1, dim).transpose(0, 1) for n, p in zip(order, pieces, strict=True)}
            found.append((f"blocks{blocks}:{','.join(order)}", parts))
    return found


def _feeds(graph: Graph, layer: Layer, part: torch.Tensor, q: torch.Tensor) -> bool:
    """Whether these rows are the queries: at position 0 nothing is rotated; a norm in between is compared directly."""
    norm = layer.norms.get("norm.q")
    if norm is not None:
        seen = arrange(graph, norm.source, q.shape[0])
        if misfit(seen[:, 0], part[:, 0]) < TOLERANCE:
            return True
    return misfit(_clipped_like(part[:, 0], q[:, 0]), q[:, 0]) < TOLERANCE or _scaled(part[:, 0], q[:, 0])


def _scaled(before: torch.Tensor, after: torch.Tensor) -> bool:
    """Whether one factor acts on all dimensions, or on the leading ones (an attention factor on those that rotate)."""
    same = [misfit(after[:, index], before[:, index]) < TOLERANCE for index in range(before.shape[-1])]
    rotated = same.index(True) if True in same else len(same)
    return all(same[rotated:]) and rotated > 0 and ratio(after[:, :rotated], before[:, :rotated]) is not None


def _clip(graph: Graph, layer: Layer, parts: dict[str, torch.Tensor]) -> tuple[float | None, dict[str, torch.Tensor]]:
    """A clamp between projection and attention."""
    bounds = set()
    for linear, end in ((layer.q, layer.site.q), (layer.k, layer.site.k), (layer.v, layer.site.v)):
        for node in unused_operators(graph, linear.y, end):
            if node.op == "clamp":
                bounds.add(tuple(float(arg) for arg in node.args[1:3]) if len(node.args) > 2 else (None, None))
    if not bounds:
        return None, parts
    if len(bounds) != 1 or next(iter(bounds))[0] is None:
        raise Unmeasured("q, k and v are clamped in different ways")
    low, high = next(iter(bounds))
    if low != -high:
        raise Unmeasured(f"a clamp between {low} and {high}")
    return high, {name: part.clamp(low, high) for name, part in parts.items()}


def visible(graph: Graph, layer: Layer) -> torch.Tensor:
    """[heads, S, S]: which keys each query sees."""
    scores = graph.tensors[layer.site.softmax.inputs[0]].double()
    return scores.reshape(-1, graph.length, scores.shape[-1])[..., : graph.length] > MASKED


@dataclass(frozen=True)
class Span:
    """Which keys before it a query sees; all of them where both are None."""

    window: int | None
    """The last so many, itself included."""
    chunk: int | None
    """Those of its own chunk of so many positions, counted from position 0."""


def span(graph: Graph, layer: Layer) -> Span:
    """What the mask of one attention hides besides what comes after the query.

    Raises:
        Unmeasured: the mask is neither causal nor a causal window or chunk (blocks, both directions).
    """
    seen = visible(graph, layer)
    if not bool((seen == seen[:1]).all()):
        raise Unmeasured("the heads of one layer see different keys")
    rows = seen[0]
    width = int(rows.sum(-1).max())
    index = torch.arange(graph.length)
    back = index[:, None] - index[None, :]
    if torch.equal(rows, (back >= 0) & (back < width)):
        return Span(None if width == graph.length else width, None)
    if torch.equal(rows, (back >= 0) & (index[:, None] // width == index[None, :] // width)):
        return Span(None, width)
    raise Unmeasured("a mask that is neither causal nor a causal window")


def added_scores(graph: Graph, layer: Layer) -> torch.Tensor | None:
    """[heads, S, S]: what is added to the scores besides a mask (ALiBi, relative positions), masked entries zero."""
    seen = visible(graph, layer)
    product = layer.site.product
    found = []
    if product.op == "baddbmm":
        found.append(graph.tensors[product.inputs[0]].double() * float(product.kwargs.get("beta", 1.0)))
    for place, node in enumerate(layer.site.between):
        if node.op == "add":
            factor = _scaling(graph, layer.site.between[:place])  # from the softmax back to the product
            found += [graph.tensors[value].double() * factor for value in node.inputs if not graph.depends[value]]
    total = torch.zeros(seen.shape, dtype=torch.float64)
    for tensor in found:
        if tensor.dim() <= 4 and tensor.shape[-1] == graph.length:
            squeezed = tensor.reshape(tensor.shape[-3:]) if tensor.dim() == 4 else tensor
            total += squeezed.expand(seen.shape).where(seen, 0.0)
    return total if bool(total.any()) else None


def _scaling(graph: Graph, nodes: Sequence[Node]) -> float:
    """Product of the scalar factors among the operators between an addition and the softmax."""
    factor = 1.0
    for node in nodes:
        data = graph.data_inputs(node)
        if len(data) == 1 and is_scalar_factor(graph, node, data[0]):
            factor *= ratio(graph.tensors[node.outputs[0]], graph.tensors[data[0]]) or 1.0
    return factor


def is_rounded(graph: Graph, layer: Layer) -> bool:
    """Whether what is added to the scores was computed in bfloat16, whatever the model's dtype."""
    added = [value for node in layer.site.between if node.op == "add" for value in node.inputs]
    fixed = [value for value in added if not graph.depends[value]]
    return any(
        graph.tensors[step].dtype == torch.bfloat16
        for value in fixed
        for step in graph.ancestors(value)
        if graph.tensors[step].dtype.is_floating_point
    )


def fit_alibi(added: torch.Tensor) -> float | None:
    """Factor on the usual slopes (arXiv 2108.12409, section 3) where what is added falls linearly with the distance.

    Softmax ignores a constant in a row, so every row is compared from its own position on.
    """
    heads, length = added.shape[0], added.shape[-1]
    power = 2 ** math.floor(math.log2(heads))
    slopes = [2.0 ** (-8.0 * (head + 1) / power) for head in range(power)]
    slopes += [2.0 ** (-4.0 * (2 * head + 1) / power) for head in range(heads - power)]
    index = torch.arange(length, dtype=torch.float64)
    back = (index[None, :] - index[:, None]).clamp_max(0)
    relative = (added - added.diagonal(dim1=1, dim2=2)[..., None]).where(back <= 0, 0.0).tril()
    expected = torch.tensor(slopes, dtype=torch.float64)[:, None, None] * back
    factor = float((relative * expected).sum() / expected.square().sum())
    return clean(factor) if misfit(relative, expected * factor) < 1e-4 else None


def score_bend(graph: Graph, layer: Layer, heads: Heads) -> Bend:
    """Factor from q.k (after rotation, before any factor) to the scores, and the softcap.

    Raises:
        Unmeasured: another function lies between.
    """
    q = arrange(graph, unscaled(graph, layer.site.q), graph.tensors[layer.site.q].shape[0])
    k = heads.k if not heads.norm_after_rope else _distinct(graph.tensors[layer.site.k].transpose(1, 2).double())[0]
    raw = q @ k.repeat_interleave(q.shape[0] // k.shape[0], dim=0).transpose(1, 2)
    length = graph.length
    scores = graph.tensors[layer.site.softmax.inputs[0]].double()
    scores = scores.reshape(-1, length, scores.shape[-1])[..., :length]
    seen = visible(graph, layer)
    if (added := added_scores(graph, layer)) is not None:
        scores = scores - added
    if layer.score_bias is not None:
        scores = scores - layer.score_bias
    tanh = next((node for node in layer.site.between if node.op == "tanh"), None)
    if any(node.op == "sub" for node in layer.site.between):  # the row maximum is subtracted: compare row by row
        return _row_bend(scores, raw, seen)
    return bend(graph, raw, scores, tanh, seen)


def _row_bend(scores: torch.Tensor, raw: torch.Tensor, seen: torch.Tensor) -> Bend:
    centred = [
        tensor.where(seen, 0.0) - (tensor.where(seen, 0.0).sum(-1, keepdim=True) / seen.sum(-1, keepdim=True))
        for tensor in (scores, raw)
    ]
    factor = ratio(centred[0][seen], centred[1][seen])
    if factor is None:
        raise Unmeasured("the scores are no multiple of q.k")
    return Bend(factor, None, None)
