"""What is measured on norms and biases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from probes.graph.structure import Linear
from probes.graph.trace import Graph
from probes.mixers.delta import NORM_ROLE as GATED_NORM
from probes.mixers.mla import NORM_ROLES
from probes.norms import fit_norm
from probes.notebook import Notebook, agree, close, note_norm
from probes.placed import placed
from probes.skeleton import Layer, Skeleton


def note_norm_facts(book: Notebook, skeleton: Skeleton, tensors: dict[str, torch.Tensor]) -> None:
    """Kind, epsilon, offset and width of the norms: those on the stream, on heads, on latents and on gated outputs."""
    graph = skeleton.graph
    stack: list[Any] = []
    inner: list[Any] = []
    latent: list[Any] = []
    gated: list[Any] = []
    for layer in skeleton.layers:
        for role, norm in layer.norms.items():
            fit = book.attempt(role, lambda norm=norm: fit_norm(graph, norm, tensors), norm.where)
            if fit is not None and role == "norm.pre_o" and fit.width != layer.o.inputs:
                book.fail(role, "the attention output is normalised head by head", norm.where)
            if fit is not None:
                group = inner if role in ("norm.q", "norm.k") else latent if role in NORM_ROLES else stack
                group = gated if role == GATED_NORM else group
                group.append((role, layer, fit))
    head_norm = skeleton.transform.norm if skeleton.transform else None
    ends = (("norm.final", skeleton.final_norm), ("norm.embed", skeleton.embed_norm), ("head.norm", head_norm))
    for role, norm in ends:
        if norm is None:
            continue
        note_norm(book, role, norm)
        fit = book.attempt(role, lambda norm=norm: fit_norm(graph, norm, tensors), norm.where)
        if fit is not None:
            stack.append((role, None, _with_own_eps(book, role, fit, [one for _, _, one in stack])))
    if skeleton.final_norm is None:
        book.fact("norm.before_head", False, skeleton.head.where)
    if stack:
        _agreed(book, "norm", [fit for _, _, fit in stack], ("kind", "zero_centered", "eps", "bias"))
        agree(book, "norm.affine", [bool(fit.shape) for _, _, fit in stack], stack[0][2].where)
    if gated:
        _agreed(book, "delta.norm", [fit for _, _, fit in gated], ("kind", "zero_centered", "eps"))
    if latent:
        _agreed(book, "mla.norm", [fit for _, _, fit in latent], ("kind", "zero_centered", "eps"))
    if not inner:
        book.fact("qk_norm.kind", "none")
        return
    kinds = [_width(graph, role, layer, fit) for role, layer, fit in inner if not _is_one_head(graph, role, layer)]
    agree(book, "qk_norm.kind", kinds, inner[0][2].where)
    _agreed(book, "qk_norm", [fit for _, _, fit in inner], ("zero_centered", "eps"))
    _agreed(book, "qk_norm", [fit for _, _, fit in inner], ("bias",))
    agree(book, "qk_norm.norm", [fit.kind for _, _, fit in inner], inner[0][2].where)
    agree(book, "qk_norm.affine", [bool(fit.shape) for _, _, fit in inner], inner[0][2].where)


def _with_own_eps(book: Notebook, role: str, fit: Any, others: list[Any]) -> Any:
    """The fit of the final norm, with the epsilon of the layers; one of its own becomes a fact."""
    known = [one.eps for one in others]
    if role != "norm.final" or not known or fit.eps == known[0] or any(eps != known[0] for eps in known):
        return fit
    if close([fit.eps, known[0]]):
        return fit
    book.fact("norm.final.eps", fit.eps, fit.where)
    return replace(fit, eps=known[0])


def _is_one_head(graph: Graph, role: str, layer: Layer) -> bool:
    """Keys of one head alone: a norm over all heads and one over each are the same."""
    return role == "norm.k" and layer.k.outputs == graph.tensors[layer.site.k].shape[-2]


def _width(graph: Graph, role: str, layer: Layer, fit: Any) -> str:
    head_dim = graph.tensors[layer.site.q].shape[-1]
    if fit.width != head_dim:
        return "full"
    return "per_head"


def _agreed(book: Notebook, prefix: str, fits: list[Any], fields: tuple[str, ...]) -> None:
    for name in fields:
        agree(book, f"{prefix}.{name}", [getattr(fit, name) for fit in fits], fits[0].where)


def note_bias_facts(book: Notebook, skeleton: Skeleton) -> None:
    """Which linears have biases; where some of a kind have one and some have none, that is written down as failed."""

    def all_or_none(name: str, linears: list[Linear]) -> None:
        have = [linear.bias is not None for linear in linears]
        if len(set(have)) > 1:
            seen = ", ".join(f"{linear.weight}: {'yes' if linear.bias else 'no'}" for linear in linears[:6])
            book.fail(name, f"some have a bias and some do not: {seen}", linears[0].where)
        book.fact(name, any(have), linears[0].where)

    layers = [layer for layer in skeleton.layers if not layer.recurrent]
    if layers:
        down = [linear for layer in layers if layer.latent for linear in layer.latent.to_latents()]
        nodes = {linear.node for linear in down}
        projections = [linear for layer in layers for linear in layer.projections() if linear.node not in nodes]
        all_or_none("bias.qkv", projections)
        if down:
            all_or_none("mla.down_bias", down)
        word = placed([layer.o.bias is not None for layer in layers])
        if word is not None and len(layers) == len(skeleton.layers):
            book.fact("bias.o.layers", word, layers[-1].o.where)
            book.fact("bias.o", True, layers[-1].o.where)
        else:
            all_or_none("bias.o", [layer.o for layer in layers])
    dense = [layer for layer in skeleton.layers if layer.moe is None]
    mlp = [linear for layer in dense for linear in (*layer.inputs, layer.down) if linear is not None]
    if mlp:
        all_or_none("bias.mlp", mlp)
    elif routed := [layer.moe for layer in skeleton.layers if layer.moe is not None]:  # no other layer has an MLP
        book.fact("bias.mlp", any(moe.down.bias for moe in routed), routed[0].down.where)
