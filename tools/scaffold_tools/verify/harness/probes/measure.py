"""All measurements on one recorded forward pass, as plain JSON."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from probes.experts.notes import expert_facts, settle_routing
from probes.graph.structure import Linear
from probes.graph.trace import Graph
from probes.graph.values import bend, clean, ratio
from probes.layers import Layer, Skeleton, assemble, unused_operators
from probes.mixers.attention import added_scores, fit_alibi, is_rounded, read_heads, score_bend, span, visible
from probes.mixers.beside import or_none
from probes.mixers.delta import NORM_ROLE as GATED_NORM
from probes.mixers.difference import difference_facts, find_difference, settle_difference
from probes.mixers.gate import Gate, output_gate
from probes.mixers.key_bias import KeyBias, find_key_bias
from probes.mixers.kinds import KINDS
from probes.mixers.lightning import KIND as LIGHTNING
from probes.mixers.lightning import settle_slopes
from probes.mixers.mamba import Scan
from probes.mixers.mla import NORM_ROLES, latent_facts, read_latent, score_scale, selects_keys
from probes.mixers.own import note_mixer
from probes.mixers.rope import fit_rotation
from probes.mixers.selection import selection_facts
from probes.mixers.sinks import note_sinks
from probes.mixers.some_layers import settle_some_layers
from probes.mixers.temperature import fit_temperature
from probes.mlp import fit_curve, fit_mlp, formula_facts
from probes.normed_residual import note_normed_residual
from probes.norms import fit_norm
from probes.notebook import Notebook, close, note_linear, note_norm, note_tensor
from probes.placed import placed
from probes.positions import fit_start

EVERYWHERE = ("residual.", "mlp.")
"""Beginnings of facts that every layer has, whatever mixes its positions."""
PARAMETERS = ("delta.A", "delta.step_bias")
"""Roles of tensors that are no weight or bias of a module."""


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
        _layers(book, skeleton, tensors)
        _norm_facts(book, skeleton, tensors)
        _bias_facts(book, skeleton)
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


def _layers(book: Notebook, skeleton: Skeleton, tensors: dict[str, torch.Tensor]) -> None:
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
        heads = _attention_of(book, graph, layer, found)
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
        found |= _attention_facts(book, graph, layer, heads)
    if layer.moe is not None:
        found |= expert_facts(book, graph, layer, tensors)
        _layer_roles(book, layer, heads.packing if heads else None, None)
        return found
    if layer.bare:
        _layer_roles(book, layer, heads.packing if heads else None, None)
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
    _layer_roles(book, layer, heads.packing if heads else None, fit)
    return found


def _side_by_side(layer: Layer) -> dict[str, tuple[Any, str | None]]:
    """Facts of a layer with two mixers: each output has a factor of its own."""
    assert layer.beside is not None
    found = layer.beside.facts() | {"residual.multiplier": (1.0, layer.o.where)}
    found["attention.output_multiplier"] = (or_none(layer.attention_factor), layer.o.where)
    if layer.down is not None and layer.moe is None:
        found["mlp.output_multiplier"] = (or_none(layer.mlp_factor), layer.down.where)
    return found


def _attention_of(book: Notebook, graph: Graph, layer: Layer, found: dict[str, tuple[Any, str | None]]) -> Any:
    """The heads of one attention, or None; facts of its mask, positions and output go into `found`."""
    product = layer.site.product.where
    heads = None
    difference = book.attempt("attention.difference", lambda: find_difference(graph, layer), product)
    if difference is not None:
        found |= difference_facts(book, layer, difference)
    if layer.latent is None:
        heads = book.attempt("attention.heads", lambda: read_heads(graph, layer), product)
    else:
        found |= book.attempt("attention.heads", lambda: _latent(graph, layer), product) or {}
    bias = book.attempt("attention.key_bias", lambda: find_key_bias(graph, layer), product) if layer.inside else None
    if bias is not None:
        chosen, indexer = _key_bias_facts(book, layer, bias), (bias.projection,)
    else:
        chosen, indexer = selection_facts(book, graph, layer, found.get("rope", (None, None))[0])
    found |= chosen
    seen = None if chosen else book.attempt("attention.window", lambda: span(graph, layer), product)
    if seen is not None:
        found["attention.window"] = (seen.window, product)
        found["attention.chunk"] = (seen.chunk, product)
    added = book.attempt("position.kind", lambda: added_scores(graph, layer), product)
    alibi = fit_alibi(added) if added is not None else None
    if alibi is not None:
        found["alibi"] = (True, product)
        found["position.alibi.multiplier"] = (alibi, product)
        found["position.alibi.rounded"] = (is_rounded(graph, layer), product)
    elif added is not None:
        book.fail("position.kind", "something that is neither a mask nor ALiBi is added to the scores", product)
    gate = output_gate(graph, layer) if difference is None else Gate("none")
    found |= _gate_facts(book, graph, layer, gate)
    rest = [one for one in layer.inside if one is not gate.projection and one not in indexer]
    if rest:
        names = ", ".join(one.weight.removeprefix(layer.prefix) for one in rest)
        what = "choose the keys that a query sees" if selects_keys(graph, layer.site) else "act inside the attention"
        book.fail("attention.inside", f"{names} {what}, beside its projections", rest[0].where)
    if selects_keys(graph, layer.site) and bias is None:
        found["attention.selection"] = (True, layer.site.softmax.where)
    return heads


def _key_bias_facts(book: Notebook, layer: Layer, bias: KeyBias) -> dict[str, tuple[Any, str | None]]:
    layer.score_bias = bias.added
    where = bias.projection.where
    note_linear(book, "attn.key_bias.proj", bias.projection)
    note_tensor(book, "attn.key_bias.rate", bias.rate, "other")
    found: dict[str, tuple[Any, str | None]] = {"attention.key_bias": (True, where)}
    if bias.keep is not None:
        found["attention.keep"] = (bias.keep, where)
    return found | {"attention.window": (None, where), "attention.chunk": (None, where)}


def _gate_facts(book: Notebook, graph: Graph, layer: Layer, gate: Gate) -> dict[str, tuple[Any, str | None]]:
    between = unused_operators(graph, layer.site.context, layer.attended)
    where = between[0].where if between else layer.o.where
    found: dict[str, tuple[Any, str | None]] = {"attention.output_gate": (gate.kind in ("fused", "separate"), where)}
    if gate.projection is not None:
        note_linear(book, "attn.gate" if gate.kind == "separate" else "attn.output_gate", gate.projection)
    if gate.kind == "own":
        found["attention.gate.curve"] = (gate.curve, where)
        found["attention.gate.by_head"] = (gate.by_head, where)
    if gate.kind == "unknown":
        operators = ", ".join(dict.fromkeys(node.op for node in between))
        book.fail("attention.output", f"{operators} between attention and its output projection", where)
    return found


def _latent(graph: Graph, layer: Layer) -> dict[str, tuple[Any, str | None]]:
    """Facts of a latent attention."""
    assert layer.latent is not None
    shape = read_latent(graph, layer.latent, layer.site)
    scale = score_scale(graph, shape, layer.site, visible(graph, layer))
    found = latent_facts(graph, layer.latent, shape, layer.site)
    product = layer.site.product.where
    return {**found, "attention.scale": (scale, product), "attention.softcap": (None, product)}


def _attention_facts(book: Notebook, graph: Graph, layer: Layer, heads: Any) -> dict[str, tuple[Any, str | None]]:
    found: dict[str, tuple[Any, str | None]] = {"num_query_groups": (heads.groups, layer.k.where)}
    found["attention.clip_qkv"] = (heads.clip, layer.q.where)
    scaled = book.attempt(
        "attention.temperature", lambda: fit_temperature(heads.q_before, heads.q), layer.site.product.where
    )
    queries = heads.q
    if scaled is not None:
        found["attention.temperature"] = (scaled[0], layer.q.where)
        queries = heads.q / scaled[1][None, :, None]
    q_turn = book.attempt("rope", lambda: (fit_rotation(heads.q_before, queries),), layer.site.product.where)
    k_turn = book.attempt("rope", lambda: (fit_rotation(heads.k_before, heads.k),), layer.site.product.where)
    hidden_scale = 1.0
    if q_turn is not None and k_turn is not None:
        q_rot, k_rot = q_turn[0], k_turn[0]
        if (q_rot is None) != (k_rot is None) or (q_rot and (q_rot.pairing, q_rot.dim) != (k_rot.pairing, k_rot.dim)):
            book.fail("rope", "queries and keys are rotated differently", layer.site.product.where)
        elif q_rot is not None:
            # Where queries are rotated alone, a factor on keys is one on the scores.
            both = q_rot.factor if q_rot.factor == 1.0 else k_rot.factor
            hidden_scale = q_rot.factor * k_rot.factor / both**2
            found["rope"] = (
                {
                    "pairing": q_rot.pairing,
                    "dim": q_rot.dim,
                    "inv_freq": [round(abs(value) if k_rot.reversed else value, 12) for value in k_rot.inv_freq],
                    "attention_factor": round(both, 7),
                    "reversed": k_rot.reversed,
                },
                graph.where(layer.site.q) or layer.q.where,
            )
        else:
            hidden_scale = (ratio(heads.q, heads.q_before) or 1.0) * (ratio(heads.k, heads.k_before) or 1.0)
            found["rope"] = (None, layer.q.where)
    fit = book.attempt("attention.scale", lambda: score_bend(graph, layer, heads), layer.site.product.where)
    if fit is not None:
        found["attention.scale"] = (clean(fit.factor * hidden_scale), layer.site.product.where)
        found["attention.softcap"] = (fit.cap, fit.where or layer.site.product.where)
    norm_q, norm_k = layer.norms.get("norm.q"), layer.norms.get("norm.k")
    if (norm_q is None) != (norm_k is None):
        book.fail("qk_norm.kind", "only one of q and k is normalised", layer.q.where)
    found["qk_norm.layers"] = (norm_q is not None, layer.q.where)
    if norm_q is not None and norm_k is not None:
        found["qk_norm.after_rope"] = (bool(heads.norm_after_rope), norm_q.where)
    return found


def _layer_roles(book: Notebook, layer: Layer, packing: str | None, fit: Any) -> None:
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


def _norm_facts(book: Notebook, skeleton: Skeleton, tensors: dict[str, torch.Tensor]) -> None:
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
        _agree(book, "norm.affine", [bool(fit.shape) for _, _, fit in stack], stack[0][2].where)
    if gated:
        _agreed(book, "delta.norm", [fit for _, _, fit in gated], ("kind", "zero_centered", "eps"))
    if latent:
        _agreed(book, "mla.norm", [fit for _, _, fit in latent], ("kind", "zero_centered", "eps"))
    if not inner:
        book.fact("qk_norm.kind", "none")
        return
    kinds = [_width(graph, role, layer, fit) for role, layer, fit in inner if not _is_one_head(graph, role, layer)]
    _agree(book, "qk_norm.kind", kinds, inner[0][2].where)
    _agreed(book, "qk_norm", [fit for _, _, fit in inner], ("zero_centered", "eps"))
    _agreed(book, "qk_norm", [fit for _, _, fit in inner], ("bias",))
    _agree(book, "qk_norm.norm", [fit.kind for _, _, fit in inner], inner[0][2].where)
    _agree(book, "qk_norm.affine", [bool(fit.shape) for _, _, fit in inner], inner[0][2].where)


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
        _agree(book, f"{prefix}.{name}", [getattr(fit, name) for fit in fits], fits[0].where)


def _agree(book: Notebook, name: str, values: list[Any], where: str | None) -> None:
    if all(value == values[0] for value in values) or close(values):
        book.fact(name, values[0], where)
    else:
        seen = ", ".join(dict.fromkeys(str(value) for value in values))
        book.fail(name, f"differs between the model's norms: {seen}", where)
        book.fact(name, values[0], where)


def _bias_facts(book: Notebook, skeleton: Skeleton) -> None:
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
