"""Facts and roles of an attention whose keys are chosen by data, written into the notebook."""

from __future__ import annotations

from typing import Any

import torch

from probes.graph.structure import Linear
from probes.graph.trace import Graph
from probes.graph.values import Unmeasured
from probes.mixers.attention import visible
from probes.mixers.indexer import K_NORM, LINEARS, Choice, Indexer, chosen_keys, indexer_facts, read_indexer
from probes.mixers.rope import Rotation
from probes.notebook import Notebook, note_linear, note_norm
from probes.skeleton import Layer

Found = dict[str, tuple[Any, str | None]]


def selection_facts(book: Notebook, graph: Graph, layer: Layer, rope: Any) -> tuple[Found, tuple[Linear, ...]]:
    """(facts, linears of the indexer) of one layer; without facts where its choice of keys could not be measured.

    Args:
        rope: the fact `rope` of this layer's attention.
    """
    choice = layer.choice
    if choice is None:
        return {}, ()
    indexer = book.attempt("attention.selection", lambda: _measured(graph, layer, choice, rope), choice.topk.where)
    if indexer is None:
        return {}, ()
    found: Found = {
        "attention.selection": (True, choice.topk.where),
        "attention.window": (None, choice.topk.where),
        "attention.chunk": (None, choice.topk.where),
        "indexer.layers": (bool(choice.linears), choice.topk.where),
    }
    if not isinstance(indexer, Indexer):
        return found, ()
    for role, linear in zip(LINEARS, (indexer.q, indexer.k, indexer.weights), strict=True):
        note_linear(book, role, linear)
    note_norm(book, K_NORM, indexer.norm)
    return found | indexer_facts(graph, choice, indexer), choice.linears


def _measured(graph: Graph, layer: Layer, choice: Choice, rope: Any) -> Indexer | bool:
    """The indexer of this layer; True where it uses the choice of an earlier one."""
    causal = torch.ones(graph.length, graph.length).tril().bool()
    if not bool((visible(graph, layer) == (chosen_keys(graph, choice) & causal)).all()):
        raise Unmeasured("queries see other keys than the chosen ones before them")
    if not choice.linears:
        return True
    tensors = {name: graph.tensors[value] for value, name in graph.params.items()}
    return read_indexer(graph, choice, _rotation(rope), tensors)


def _rotation(rope: Any) -> Rotation | None:
    if rope is None:
        return None
    sign = -1 if rope["reversed"] else 1
    frequencies = tuple(sign * value for value in rope["inv_freq"])
    return Rotation(rope["pairing"], rope["dim"], frequencies, rope["attention_factor"], 1.0)
