"""Multi-head latent attention: its projections found by what feeds what, its sizes, its rotation, its norms.

Keys come from two linears: an up projection of a normalised latent, and the down projection that made that latent
and also holds the one rotated key that all heads share (DeepSeek-V2, arXiv 2405.04434, section 2.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from probes.graph.structure import Linear, Norm, Site, sources
from probes.graph.trace import Graph
from probes.graph.values import TOLERANCE, Unmeasured, clean, misfit, ratio, unscaled
from probes.mixers.rope import Rotation, fit_rotation

NORM_ROLES = ("mla.q_a_norm", "mla.kv_a_norm")


@dataclass(frozen=True)
class Latent:
    """The projections of one latent attention."""

    q_a: Linear | None
    """None where queries are projected at once."""
    q: Linear
    """Up projection of the queries, or their only one."""
    kv_a: Linear
    kv_b: Linear

    def entries(self) -> tuple[Linear, Linear]:
        """The linears that take the residual stream: of queries, of keys and values."""
        return (self.q_a or self.q, self.kv_a)

    def to_latents(self) -> tuple[Linear, ...]:
        """The projections whose outputs are latents."""
        return (self.kv_a,) if self.q_a is None else (self.q_a, self.kv_a)

    def linears(self) -> tuple[Linear, ...]:
        """All of them, in call order."""
        found = (self.q_a, self.q, self.kv_a, self.kv_b)
        return tuple(one for one in found if one is not None)

    def roles(self) -> tuple[tuple[str, Linear], ...]:
        """(role, linear) of each."""
        first = (("attn.q", self.q),) if self.q_a is None else (("mla.q_a", self.q_a), ("mla.q_b", self.q))
        return (*first, ("mla.kv_a", self.kv_a), ("mla.kv_b", self.kv_b))


def find_latent(graph: Graph, site: Site, by_output: dict[int, Linear]) -> Latent | None:
    """The latent projections behind an attention; None where keys and values come from one linear each."""
    keys, _ = sources(graph, site.k, by_output)
    values, _ = sources(graph, site.v, by_output)
    queries, _ = sources(graph, site.q, by_output)
    if len(keys) != 2 or len(values) != 1 or len(queries) != 1 or values[0] not in keys:
        return None
    kv_b = values[0]
    kv_a = next(one for one in keys if one is not kv_b)
    behind, _ = sources(graph, kv_b.x, by_output)
    if behind != [kv_a]:
        return None
    before, _ = sources(graph, queries[0].x, by_output)
    shared = graph.resolve(queries[0].x) == graph.resolve(kv_a.x)
    q_a = None if shared or len(before) != 1 else before[0]
    return Latent(q_a, queries[0], kv_a, kv_b)


def latent_norms(graph: Graph, latent: Latent, norms: list[Norm]) -> dict[str, Norm]:
    """Norms between the two projections of a latent, by role."""
    pairs = [("mla.kv_a_norm", latent.kv_b)]
    if latent.q_a is not None:
        pairs.insert(0, ("mla.q_a_norm", latent.q))
    found = {}
    for role, linear in pairs:
        norm = next((one for one in norms if graph.resolve(one.y) == graph.resolve(linear.x)), None)
        if norm is not None:
            found[role] = norm
    return found


@dataclass(frozen=True)
class LatentShape:
    """Sizes of one latent attention, and its rotation."""

    heads: int
    nope: int
    rope: int
    value: int
    q_rank: int | None
    kv_rank: int
    rotation: Rotation | None
    hidden_scale: float
    """Factor that the rotated dimensions of q.k have beside that of the rotation of keys."""
    q: torch.Tensor
    k: torch.Tensor
    """[heads, S, dim] as multiplied."""


def read_latent(graph: Graph, latent: Latent, site: Site) -> LatentShape:
    """Measure the layout of the four projections and the rotation.

    Raises:
        Unmeasured: another layout than [nope | rope] a head, [latent | rope], [nope | value] a head.
    """
    q, k, v = (graph.tensors[one].double() for one in (unscaled(graph, site.q), site.k, site.v))
    heads, length = graph.tensors[site.q].shape[0], graph.length
    q = q.reshape(heads, length, -1)
    k = k.transpose(1, 2)
    v = v.reshape(heads, length, -1)
    dim, value = q.shape[-1], v.shape[-1]
    up = graph.rows(latent.kv_b.y).reshape(length, heads, -1).transpose(0, 1)
    nope = up.shape[-1] - value
    rope = dim - nope
    if rope <= 0 or not torch.equal(up[..., nope:], v) or not torch.equal(up[..., :nope], k[..., :nope]):
        raise Unmeasured("the up projection of the latent is not [keys, values] for each head")
    down = graph.rows(latent.kv_a.y)
    rank = down.shape[-1] - rope
    if latent.kv_b.inputs != rank:
        raise Unmeasured(f"a latent of {latent.kv_b.inputs} in a down projection of {down.shape[-1]}")
    projected = graph.rows(latent.q.y).reshape(length, heads, -1).transpose(0, 1)
    factor = ratio(q[..., :nope], projected[..., :nope])
    if factor is None:
        raise Unmeasured("queries are not [without position, with position] for each head")
    if misfit(k[:, :, nope:], k[:1, :, nope:].expand(heads, -1, -1)) > TOLERANCE:
        raise Unmeasured("the rotated keys differ between heads")
    q_turn = _rotation(projected[..., nope:] * factor, q[..., nope:])
    k_turn = _rotation(down[None, :, rank:], k[:1, :, nope:])
    if (q_turn is None) != (k_turn is None) or (q_turn and k_turn and q_turn.pairing != k_turn.pairing):
        raise Unmeasured("queries and keys are rotated differently")
    scale = q_turn.factor / k_turn.factor if q_turn and k_turn else 1.0
    if abs(scale - 1.0) > 1e-6:
        raise Unmeasured(f"queries are scaled by {scale} more than keys")
    q_rank = latent.q.inputs if latent.q_a is not None else None
    return LatentShape(heads, nope, rope, value, q_rank, rank, k_turn, factor, q, k)


def _rotation(before: torch.Tensor, after: torch.Tensor) -> Rotation | None:
    """As `fit_rotation`, also where the code gathers even and odd dimensions before it rotates halves.

    q.k does not change when both are permuted alike, so that is the interleaved pairing.
    """
    try:
        return fit_rotation(before, after)
    except Unmeasured:
        gathered = torch.cat((before[..., 0::2], before[..., 1::2]), dim=-1)
        found = fit_rotation(gathered, after)
        if found is None or found.pairing != "half":
            raise
        return Rotation("interleaved", found.dim, found.inv_freq, found.factor, found.rest_factor)


def latent_facts(graph: Graph, latent: Latent, shape: LatentShape, site: Site) -> dict[str, tuple[Any, str | None]]:
    """Per-layer facts, by name: (value, source line)."""
    where = latent.kv_b.where
    found: dict[str, tuple[Any, str | None]] = {
        "num_query_groups": (shape.heads, where),
        "attention.clip_qkv": (None, where),
        "mla.q_rank": (shape.q_rank, latent.q.where),
        "mla.kv_rank": (shape.kv_rank, where),
        "mla.nope_dim": (shape.nope, where),
        "mla.rope_dim": (shape.rope, where),
        "mla.value_dim": (shape.value, where),
        "rope": (None, latent.q.where),
    }
    turn = shape.rotation
    if turn is not None:
        found["rope"] = (
            {
                "pairing": turn.pairing,
                "dim": turn.dim,
                "inv_freq": [round(abs(value) if turn.reversed else value, 12) for value in turn.inv_freq],
                "attention_factor": round(turn.factor, 7),
                "reversed": turn.reversed,
            },
            graph.where(site.q) or latent.q.where,
        )
    return found


def selects_keys(graph: Graph, site: Site) -> bool:
    """Whether the mask on the scores depends on the tokens: which keys a query sees is computed (sparse attention)."""
    length = graph.length
    return any(
        sum(graph.tensors[value].shape[-2:] == (length, length) for value in graph.data_inputs(node)) > 1
        for node in site.between
    )


def score_scale(graph: Graph, shape: LatentShape, site: Site, seen: torch.Tensor) -> float:
    """Factor from q.k to the scores.

    Raises:
        Unmeasured: the scores are no multiple of q.k.
    """
    scores = graph.tensors[site.softmax.inputs[0]].double().reshape(-1, graph.length, graph.length)
    found = ratio(scores[seen], (shape.q @ shape.k.transpose(1, 2))[seen])
    if found is None:
        raise Unmeasured("the scores are no multiple of q.k")
    return clean(found * shape.hidden_scale)
