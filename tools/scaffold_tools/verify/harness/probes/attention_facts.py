"""What is measured on the attention of one layer."""

from __future__ import annotations

from typing import Any

from probes.graph.trace import Graph
from probes.graph.values import clean, ratio
from probes.mixers.attention import added_scores, fit_alibi, is_rounded, read_heads, score_bend, span, visible
from probes.mixers.difference import difference_facts, find_difference
from probes.mixers.gate import Gate, output_gate
from probes.mixers.key_bias import KeyBias, find_key_bias
from probes.mixers.mla import latent_facts, read_latent, score_scale, selects_keys
from probes.mixers.rope import fit_rotation
from probes.mixers.selection import selection_facts
from probes.mixers.temperature import fit_temperature
from probes.notebook import Notebook, note_linear, note_tensor
from probes.skeleton import Layer, unused_operators


def measure_attention(book: Notebook, graph: Graph, layer: Layer, found: dict[str, tuple[Any, str | None]]) -> Any:
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


def attention_facts(book: Notebook, graph: Graph, layer: Layer, heads: Any) -> dict[str, tuple[Any, str | None]]:
    """What the heads of one attention show: groups, scale, rotation, mask and what bends the scores."""
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
