"""What is measured on each layer, and on all layers of a kind together."""

from __future__ import annotations

from typing import Any

import torch

from probes.attention_facts import attention_facts, measure_attention
from probes.experts.notes import expert_facts, settle_routing
from probes.graph.trace import Graph
from probes.graph.values import clean
from probes.layer_roles import note_layer_roles
from probes.mixers.beside import or_none
from probes.mixers.difference import settle_difference
from probes.mixers.kinds import KINDS
from probes.mixers.lightning import KIND as LIGHTNING
from probes.mixers.lightning import settle_slopes
from probes.mixers.some_layers import settle_some_layers
from probes.mlp import fit_mlp, formula_facts
from probes.notebook import Notebook
from probes.placed import placed
from probes.skeleton import Layer, Skeleton

EVERYWHERE = ("residual.", "mlp.")
"""Beginnings of facts that every layer has, whatever mixes its positions."""


def note_layers(book: Notebook, skeleton: Skeleton, tensors: dict[str, torch.Tensor]) -> None:
    """Facts and roles of every layer; a fact that differs between layers is kept by layer."""
    graph = skeleton.graph
    columns: dict[str, list[Any]] = {}
    where: dict[str, str | None] = {}
    for layer in skeleton.layers:
        for name, (value, place) in _one_layer(book, graph, layer, tensors).items():
            columns.setdefault(name, []).append(value)
            where.setdefault(name, place)
    settle_routing(book, columns, where)
    settle_some_layers(book, columns, where)
    settle_slopes(book, columns, [layer.own is not None and layer.own.kind == LIGHTNING for layer in skeleton.layers])
    settle_difference(book, columns, where)
    columns["rope"] = _same_tables(columns.get("rope", []))
    for name, values in columns.items():
        if values and len(values) == _expected(name, skeleton):
            book.layered(name, values, where[name])
    nets = [layer.delta is not None for layer in skeleton.layers]
    if any(nets):
        place = next(layer.delta.where for layer in skeleton.layers if layer.delta)
        book.layered("delta.layers", nets, place)
    _scans(book, skeleton)
    for kind in KINDS:
        flags = [layer.own is not None and layer.own.kind == kind for layer in skeleton.layers]
        if any(flags):
            book.layered(f"{kind}.layers", flags, skeleton.layers[flags.index(True)].own.where)
    alone = [layer.alone for layer in skeleton.layers]
    if any(alone):
        book.layered("mixer.layers", [not one for one in alone], skeleton.layers[alone.index(True)].o.where)
    bare = [layer.bare for layer in skeleton.layers]
    if any(bare):
        book.layered("mlp.layers", [not one for one in bare], skeleton.layers[bare.index(True)].o.where)
    _input_norm_layers(book, skeleton)
    routed = [layer.moe is not None for layer in skeleton.layers]
    if any(routed):
        book.layered("moe.layers", routed, next(layer.moe.router.where for layer in skeleton.layers if layer.moe))


def _scans(book: Notebook, skeleton: Skeleton) -> None:
    """Which layers have a state space layer, in the place of attention or beside it."""
    scans = [layer.scan or (layer.beside.scan if layer.beside else None) for layer in skeleton.layers]
    where = next((scan.where for scan in scans if scan), None)
    if where is not None:
        book.layered("mamba.layers", [scan is not None for scan in scans], where)
    beside = [layer.beside is not None for layer in skeleton.layers]
    if any(beside):
        book.fact("mamba.beside", True, where)
    if any(beside) and not all(beside):
        book.fail("mamba.beside", "some layers have a state space layer beside attention and some do not", where)


RECURRENT = "recurrent"
"""Word for the layers that have something: those whose mixer is not attention."""


def _input_norm_layers(book: Notebook, skeleton: Skeleton) -> None:
    """Which layers have a norm on the input of their mixer, where not all of them have one."""
    have = [layer.alone or "norm.pre_attn" in layer.norms for layer in skeleton.layers]
    if len(set(have)) == 1:
        return
    where = skeleton.layers[have.index(False)].q.where
    beside = [layer.recurrent for layer in skeleton.layers]
    word = RECURRENT if have == beside else placed(have)
    if word is None:
        book.fail("norm.pre_attn", "some layers have a norm on the input of their mixer and some do not", where)
    else:
        book.fact("norm.pre_attn.layers", word, where)
    rest = [layer for layer in skeleton.layers if not layer.bare and not layer.alone]
    inner = ["norm.pre_mlp" in layer.norms for layer in rest]
    if word == RECURRENT and inner == [layer.recurrent for layer in rest]:
        book.fact("norm.pre_mlp.layers", word, where)


def _expected(name: str, skeleton: Skeleton) -> int:
    """Layers that have a fact: all, or only those with experts, or only those without."""
    routed = sum(layer.moe is not None for layer in skeleton.layers)
    if name == "ffn_hidden_size":
        return len(skeleton.layers) - routed - sum(layer.bare for layer in skeleton.layers)
    if name.startswith("moe."):
        return routed
    if name.startswith("mlp."):
        return len(skeleton.layers) - sum(layer.bare for layer in skeleton.layers)
    if name.startswith("indexer.") and name != "indexer.layers":
        return sum(layer.choice is not None and bool(layer.choice.linears) for layer in skeleton.layers)
    if name.startswith("delta."):
        return sum(layer.delta is not None for layer in skeleton.layers)
    if name.startswith("mamba."):
        return sum(layer.scan is not None or layer.beside is not None for layer in skeleton.layers)
    kind = name.partition(".")[0]
    if kind in KINDS:
        return sum(layer.own is not None and layer.own.kind == kind for layer in skeleton.layers)
    recurrent = sum(layer.recurrent for layer in skeleton.layers)
    return len(skeleton.layers) if name.startswith(EVERYWHERE) else len(skeleton.layers) - recurrent


def _same_tables(rotations: list[Any]) -> list[Any]:
    """Rotations that agree within measuring noise become equal."""
    kept: list[Any] = []
    for found in rotations:
        same = next((one for one in kept if _same_rotation(one, found)), found)
        kept.append(same)
    return kept


def _same_rotation(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    if any(one[name] != other[name] for name in ("pairing", "dim", "reversed")):
        return False
    pairs = zip(one["inv_freq"], other["inv_freq"], strict=True)
    close = all(abs(a - b) <= 1e-7 + 1e-4 * abs(a) for a, b in pairs)
    return close and abs(one["attention_factor"] - other["attention_factor"]) <= 1e-5 * one["attention_factor"]


def _one_layer(
    book: Notebook, graph: Graph, layer: Layer, tensors: dict[str, torch.Tensor]
) -> dict[str, tuple[Any, str | None]]:
    found: dict[str, tuple[Any, str | None]] = {}
    heads = None
    if layer.delta is not None:
        found |= layer.delta.facts()
    elif layer.scan is not None:
        found |= layer.scan.facts()
    elif layer.own is not None:
        found |= layer.own.facts()
    elif not layer.alone:
        heads = measure_attention(book, graph, layer, found)
        found["attention.input_multiplier"] = (or_none(layer.input_factor), layer.q.where)
    found["residual.parallel"] = (layer.parallel, layer.o.where)
    if layer.moe is not None and not layer.alone:
        found["moe.output_factor"] = (clean(layer.mlp_factor / layer.attention_factor), layer.down.where)
    if layer.beside is not None:
        found |= _side_by_side(layer)
    elif layer.bare or layer.alone or layer.moe is not None or layer.attention_factor == layer.mlp_factor:
        found["residual.multiplier"] = (layer.attention_factor, layer.o.where)
    else:
        seen_factors = f"{layer.attention_factor} on attention, {layer.mlp_factor} on the MLP"
        book.fail("residual.multiplier", seen_factors, layer.o.where)
    if heads is not None:
        found |= attention_facts(book, graph, layer, heads)
    if layer.moe is not None:
        found |= expert_facts(book, graph, layer, tensors)
        note_layer_roles(book, layer, heads.packing if heads else None, None)
        return found
    if layer.bare:
        note_layer_roles(book, layer, heads.packing if heads else None, None)
        return found
    fit = book.attempt(
        "mlp.activation",
        lambda: fit_mlp(graph, layer, layer.activated),
        layer.inputs[0].where if layer.inputs else None,
    )
    if fit is not None:
        found |= formula_facts(fit.formula, fit.where)
        found["mlp.gated"] = (fit.gated, fit.where)
        found["ffn_hidden_size"] = (fit.width, fit.where)
    note_layer_roles(book, layer, heads.packing if heads else None, fit)
    return found


def _side_by_side(layer: Layer) -> dict[str, tuple[Any, str | None]]:
    """Facts of a layer with two mixers: each output has a factor of its own."""
    assert layer.beside is not None
    found = layer.beside.facts() | {"residual.multiplier": (1.0, layer.o.where)}
    found["attention.output_multiplier"] = (or_none(layer.attention_factor), layer.o.where)
    if layer.down is not None and layer.moe is None:
        found["mlp.output_multiplier"] = (or_none(layer.mlp_factor), layer.down.where)
    return found
