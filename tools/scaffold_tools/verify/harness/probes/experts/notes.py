"""Roles and facts of a mixture-of-experts layer, written into the notebook."""

from __future__ import annotations

from typing import Any

import torch

from probes.experts.fit import ExpertFit, facts_of, fit_moe
from probes.experts.router import common_routing
from probes.graph.trace import Graph
from probes.notebook import Notebook, note_linear, note_tensor
from probes.skeleton import Layer


def expert_facts(
    book: Notebook, graph: Graph, layer: Layer, tensors: dict[str, torch.Tensor]
) -> dict[str, tuple[Any, str | None]]:
    """The facts of one layer's experts, by name; {} where they could not be measured."""
    moe = layer.moe
    if moe is None:
        return {}
    fit = book.attempt("moe", lambda: fit_moe(graph, moe, tensors), moe.router.where)
    if fit is None:
        return {}
    note_linear(book, "moe.router", moe.router)
    _expert_roles(book, layer, fit.expert)
    if moe.shared is not None and fit.shared is not None:
        names = ["moe.shared.gate", "moe.shared.up"] if len(moe.shared.inputs) == 2 else ["moe.shared.up"]
        names = ["moe.shared.gate_up"] if fit.shared.packing else names
        ordered = list(reversed(moe.shared.inputs)) if fit.shared.gate == 1 else moe.shared.inputs
        for role, linear in zip(names, ordered, strict=True):
            note_linear(book, role, linear, fit.shared.packing)
        note_linear(book, "moe.shared.down", moe.shared.down)
        if moe.shared.gate is not None:
            note_linear(book, "moe.shared.router", moe.shared.gate)
    return facts_of(fit, moe, moe.router.where)


def _expert_roles(book: Notebook, layer: Layer, fit: ExpertFit) -> None:
    """Roles of the matrices in memory; `probes.disk` finds what they are called on disk."""
    if layer.moe is None:
        return
    names = ["moe.expert.gate", "moe.expert.up"] if len(layer.moe.inputs) == 2 else ["moe.expert.up"]
    names = ["moe.expert.gate_up"] if fit.packing else names
    ordered = list(reversed(layer.moe.inputs)) if fit.gate == 1 else layer.moe.inputs
    for role, bank in zip([*names, "moe.expert.down"], [*ordered, layer.moe.down], strict=True):
        packing = [fit.packing] if fit.packing and role == "moe.expert.gate_up" else []
        turned = ["transposed"] if bank.transposed else []
        stacked = ["stacked"] if bank.stacked else []
        for name in bank.params:
            note_tensor(book, role, name, "weight", ";".join([*packing, *stacked, *turned]) or None)
        for name in bank.bias:
            note_tensor(book, role, name, "bias", ";".join([*packing, *stacked]) or None)


def settle_routing(book: Notebook, columns: dict[str, list[Any]], where: dict[str, str | None]) -> None:
    """Replace the router formulas of all layers by the facts of the one that fits every layer."""
    layers = columns.pop("moe.routing", [])
    if not layers:
        return
    place = where["moe.routing"]
    chosen = common_routing(layers)
    if chosen is None:
        book.fail("moe.score", "the routers of different layers follow different formulas", place)
        return
    for routing in chosen:
        if routing.bias:
            note_tensor(book, "moe.router.correction_bias", routing.bias, "other")
    values: dict[str, Any] = {
        name: [getattr(one, field) for one in chosen]
        for name, field in (
            ("moe.top_k", "top_k"),
            ("moe.score", "score"),
            ("moe.renormalise", "renormalise"),
            ("moe.scale", "scale"),
            ("moe.groups", "groups"),
            ("moe.groups_kept", "groups_kept"),
            ("moe.group_score", "group_score"),
        )
    }
    if any(one.margin is not None for one in chosen):
        values["moe.margin"] = [one.margin for one in chosen]
    values["moe.correction_bias"] = [one.bias is not None for one in chosen]
    columns |= values
    where |= dict.fromkeys(values, place)
