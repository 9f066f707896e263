"""Which tensor of a layer plays which role."""

from __future__ import annotations

from typing import Any

from probes.mixers.mamba import Scan
from probes.mixers.own import note_mixer
from probes.notebook import Notebook, note_linear, note_norm, note_tensor
from probes.skeleton import Layer

PARAMETERS = ("delta.A", "delta.step_bias")
"""Roles of tensors that are no weight or bias of a module."""


def note_layer_roles(book: Notebook, layer: Layer, packing: str | None, fit: Any) -> None:
    """The roles of a layer's tensors: mixer, MLP, factors on the residual, norms."""
    if not layer.alone:
        _mixer_roles(book, layer, packing)
    if layer.down is not None and layer.moe is None:
        _mlp_roles(book, layer, fit)
    for role, name in layer.residual_factors.items():
        note_tensor(book, role, name, "other")
    for role, norm in layer.norms.items():
        if role == "norm.v":
            book.fail("norm.v", "values are normalised", norm.where)
            continue
        note_norm(book, role, norm)


def _mixer_roles(book: Notebook, layer: Layer, packing: str | None) -> None:
    if layer.delta is not None:
        for role, linear in layer.delta.linears:
            note_linear(book, role, linear)
        for role, name in layer.delta.tensors():
            note_tensor(book, role, name, "other" if role in PARAMETERS else "weight")
    elif layer.scan is not None:
        _scan_roles(book, layer.scan)
    elif layer.own is not None:
        note_mixer(book, layer.own)
    elif layer.latent is not None:
        for role, linear in layer.latent.roles():
            note_linear(book, role, linear)
    elif layer.q.node == layer.k.node:
        note_linear(book, "attn.qkv", layer.q, packing)
    elif layer.k.node == layer.v.node:
        note_linear(book, "attn.q", layer.q)
        note_linear(book, "attn.kv", layer.k, packing)
    else:
        for role, linear in (("attn.q", layer.q), ("attn.k", layer.k), ("attn.v", layer.v)):
            note_linear(book, role, linear)
    if layer.beside is not None:
        _scan_roles(book, layer.beside.scan)
        note_linear(book, "mamba.out", layer.beside.scan.out)
    kind = "delta" if layer.delta else "mamba" if layer.scan else layer.own.kind if layer.own else None
    note_linear(book, f"{kind}.out" if kind else "attn.o", layer.o)


def _scan_roles(book: Notebook, scan: Scan) -> None:
    note_linear(book, "mamba.in", scan.inp)
    for role, name, param in scan.names:
        note_tensor(book, role, name, param)


def _mlp_roles(book: Notebook, layer: Layer, fit: Any) -> None:
    names = ["mlp.gate", "mlp.up"] if len(layer.inputs) == 2 else ["mlp.up"]
    if fit is not None and fit.packing:
        names = ["mlp.gate_up"]
    ordered = list(reversed(layer.inputs)) if fit is not None and fit.gate == 1 else layer.inputs
    for role, linear in zip(names, ordered, strict=True):
        note_linear(book, role, linear, fit.packing if fit else None)
    note_linear(book, "mlp.down", layer.down)
    for slot, tensor in fit.parameters if fit else ():
        note_tensor(book, f"mlp.act.{slot}", tensor, "other")
