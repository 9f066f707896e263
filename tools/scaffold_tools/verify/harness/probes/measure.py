"""All measurements on one recorded forward pass, as plain JSON."""

from __future__ import annotations

from typing import Any

import torch

from probes.graph.trace import Graph
from probes.graph.values import bend, clean, ratio
from probes.layer_facts import note_layers
from probes.layers import assemble
from probes.mixers.sinks import note_sinks
from probes.mlp import fit_curve
from probes.norm_facts import note_bias_facts, note_norm_facts
from probes.normed_residual import note_normed_residual
from probes.notebook import Notebook, note_linear, note_tensor
from probes.positions import fit_start
from probes.skeleton import Skeleton, unused_operators


def measure(model: torch.nn.Module, graph: Graph) -> dict[str, Any]:
    """Everything that one forward pass shows."""
    book = Notebook()
    tensors = dict(model.state_dict())
    skeleton = book.attempt("structure", lambda: assemble(graph))
    if skeleton is not None:
        for subject, reason, where in skeleton.complaints:
            book.fail(subject, reason, where)
        _sizes(book, skeleton)
        _whole_model(book, skeleton, tensors)
        note_layers(book, skeleton, tensors)
        note_norm_facts(book, skeleton, tensors)
        note_bias_facts(book, skeleton)
        note_normed_residual(book, skeleton)
        note_sinks(book, skeleton)
        _unassigned(book, model, graph)
    uses = {} if skeleton is not None and not book.failures else first_uses(graph)
    return {"facts": book.facts, "where": book.where, "roles": book.roles, "failures": book.failures, "uses": uses}


def first_uses(graph: Graph) -> dict[str, str]:
    """The source line that first takes each parameter."""
    found = {name: graph.users(value) for value, name in graph.params.items()}
    return {name: users[0].where.rsplit("/", 1)[-1] for name, users in found.items() if users}


def _sizes(book: Notebook, skeleton: Skeleton) -> None:
    graph = skeleton.graph
    table = graph.tensors[skeleton.embedding.inputs[0]]
    book.fact("num_layers", len(skeleton.layers))
    book.fact("hidden_size", graph.tensors[skeleton.entry].shape[-1])
    book.fact("vocab_size", table.shape[0])
    shapes = [graph.tensors[layer.site.q].shape for layer in skeleton.layers if not layer.recurrent]
    if shapes:
        book.layered("num_attention_heads", [shape[0] for shape in shapes])
        book.layered("head_dim", [shape[-1] for shape in shapes])


def _whole_model(book: Notebook, skeleton: Skeleton, tensors: dict[str, torch.Tensor]) -> None:
    graph, head = skeleton.graph, skeleton.head
    embedded = graph.params[graph.resolve(skeleton.embedding.inputs[0])]
    note_tensor(book, "embed.tokens", embedded, "weight")
    if skeleton.positions is not None:
        note_tensor(book, "embed.positions", graph.params[graph.resolve(skeleton.positions.inputs[0])], "weight")
        book.fact("position.rows", graph.tensors[skeleton.positions.inputs[0]].shape[0])
    tied = head.weight == embedded
    book.fact("tied_embeddings", tied, head.where)
    if not tied:
        note_linear(book, "head", head)
    elif head.bias:
        note_tensor(book, "head", head.bias, "bias")
    book.fact("bias.head", head.bias is not None, head.where)
    if (found := skeleton.transform) is not None:
        note_linear(book, "head.dense", found.dense)
        curve = book.attempt(
            "head.activation", lambda: fit_curve(graph.rows(found.dense.y), graph.rows(found.norm.x)), found.norm.where
        )
        if curve is not None:
            book.fact("head.activation", curve, found.norm.where)
    book.attempt("embedding.multiplier", lambda: _embedding_factor(book, skeleton))
    book.attempt("logits.multiplier", lambda: _logits(book, skeleton), graph.where(graph.output))


def _embedding_factor(book: Notebook, skeleton: Skeleton) -> None:
    where = skeleton.graph.where(skeleton.entry)
    book.fact("embedding.norm", skeleton.embed_norm is not None, where)
    start = fit_start(skeleton)
    book.fact("embedding.multiplier", start.multiplier, where)
    if start.kind is not None:
        book.fact("position.offset", start.offset, where)
    if start.layout is not None:
        book.fact("position.sinusoid", start.layout, where)


def _logits(book: Notebook, skeleton: Skeleton) -> None:
    graph = skeleton.graph
    raw = graph.rows(skeleton.head.y)
    tanh = next((node for node in unused_operators(graph, skeleton.head.y, graph.output) if node.op == "tanh"), None)
    norm = skeleton.final_norm
    before = 1.0
    if norm is not None and graph.resolve(norm.y) != skeleton.head.x:
        before = ratio(graph.rows(skeleton.head.x), graph.rows(norm.y)) or 1.0
    found = bend(graph, raw, graph.tensors[graph.output], tanh)
    book.fact("logits.multiplier", clean(found.factor * before), graph.where(graph.output))
    book.fact("logits.softcap", found.cap, found.where)


def _unassigned(book: Notebook, model: torch.nn.Module, graph: Graph) -> None:
    """Parameters that no role accounts for: used ones are a gap, unused ones a note."""
    known = {row["tensor"] for row in book.roles}
    used = set(graph.params.values())
    for name, parameter in model.named_parameters():
        if name not in known:
            how = "is used, but no rule gives it a role" if name in used else "is never used by the forward pass"
            where = None
            if name in used:
                value = next(one for one, found in graph.params.items() if found == name)
                where = graph.users(value)[0].where if graph.users(value) else None
            book.fail(name, f"tensor {tuple(parameter.shape)} {how}", where)
