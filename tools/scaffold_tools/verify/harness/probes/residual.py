"""Follows the residual stream: what is added to it, by which factor, and which norms stand where."""

from __future__ import annotations

from probes.graph.structure import Linear, Norm
from probes.graph.values import Unmeasured, clean, is_scalar_factor, ratio, unscaled, uses
from probes.head import find_transform
from probes.mixers.beside import join
from probes.mixers.indexer import find_choice
from probes.mixers.mla import latent_norms
from probes.skeleton import Layer, Skeleton, short


def walk_residual(skeleton: Skeleton) -> int | None:
    """Follow the residual stream from the embedding to the last layer; give every norm its role."""
    graph = skeleton.graph
    stream = None
    before: Layer | None = None
    for layer in skeleton.layers:
        after, other, factor = _to_residual(skeleton, layer, layer.o, "norm.post_attn")
        other = _without_factors(skeleton, layer, other, "residual.attn")
        layer.attention_factor = factor
        if skeleton.after_norm:
            other, keep = _before_norm(skeleton, layer.entries()[0], other)
            layer.normed_sums["mixer"], layer.attention_factor = (keep, factor), 1.0
        if layer.beside is not None:
            other, after, layer.beside = join(graph, layer.beside, after, other)
        joined = layer.down is not None and graph.resolve(layer.down.y) in graph.ancestors(other, {layer.core})
        if layer.parallel and joined and graph.resolve(layer.down.y) not in graph.ancestors(layer.core):
            other, after, layer.attention_factor = _outer_add(skeleton, after, layer.attention_factor, layer)
        layer.entry = graph.resolve(other)
        if (
            before is not None
            and stream is not None
            and not _is_stream(skeleton, before, "norm.after_mlp", stream, layer.entry)
        ):
            skeleton.complain(
                f"{layer.prefix}residual", "the residual is not what the layer before put out", graph.where(other)
            )
        stream = base = graph.resolve(after)
        if layer.down is not None and not layer.alone:
            end, other, layer.mlp_factor = _to_residual(skeleton, layer, layer.down, "norm.post_mlp")
            if skeleton.after_norm and layer.inputs:
                other, keep = _before_norm(skeleton, layer.inputs[0], other)
                layer.normed_sums["mlp"], layer.mlp_factor = (keep, layer.mlp_factor), 1.0
            base = graph.resolve(_without_factors(skeleton, layer, other, "residual.mlp"))
            if not layer.parallel and not _is_stream(skeleton, layer, "norm.after_attn", stream, base):
                skeleton.complain(
                    f"{layer.prefix}residual", "the MLP's residual is not the attention's sum", graph.where(end)
                )
            stream = max(graph.resolve(end), stream)
        elif not layer.bare and not layer.alone:
            stream = None  # what the rest of the layer adds is unknown
        _input_norms(skeleton, layer, base)
        _output_norms(skeleton, layer)
        _inner_norms(skeleton, layer)
        before = layer
    skeleton.entry = skeleton.layers[0].entry
    return stream


def _before_norm(skeleton: Skeleton, first: Linear, residual: int) -> tuple[int, float]:
    """(the stream, factor on its normed form) where the residual is what a sublayer's input norm puts out."""
    graph = skeleton.graph
    norm = _norm_of(skeleton, first.x)
    if norm is None or unscaled(graph, residual) != graph.resolve(norm.y):
        skeleton.complain("residual.after_norm", "some residuals are taken after the norm, others not", first.where)
        return residual, 1.0
    return norm.x, ratio(graph.tensors[residual], graph.tensors[norm.y]) or 1.0


def _is_stream(skeleton: Skeleton, layer: Layer, role: str, total: int, seen: int) -> bool:
    """Whether `seen` is the residual stream after the sum `total`: the sum itself, or a norm on it."""
    if seen == total:
        return True
    graph = skeleton.graph
    norm = next((one for one in skeleton.norms if one.x == total and graph.resolve(one.y) == seen), None)
    if norm is None or not (norm.weight or layer.prefix).startswith(layer.prefix):
        return False
    layer.norms[role] = norm
    return True


def read_end(skeleton: Skeleton, stream: int | None, linears: list[Linear]) -> None:
    """What acts between the last layer and the head."""
    graph, last = skeleton.graph, skeleton.layers[-1]
    norm = _norm_of(skeleton, unscaled(graph, skeleton.head.x))
    if norm is not None and norm.x != stream:
        prefixes = tuple(layer.prefix for layer in skeleton.layers)
        skeleton.transform = find_transform(graph, norm, linears, prefixes)
    if skeleton.transform is not None:
        norm = _norm_of(skeleton, skeleton.transform.dense.x)
    elif norm is not None and norm.x == stream and norm.weight and norm.weight.startswith(last.prefix):
        last.norms["norm.after_mlp"], norm = norm, None  # a norm of the last layer, and none after it
    skeleton.final_norm = norm
    if norm is not None and stream is not None and not _is_stream(skeleton, last, "norm.after_mlp", stream, norm.x):
        skeleton.complain("norm.final", "the final norm does not act on the last layer's output", norm.where)
    skeleton.embed_norm = next((one for one in skeleton.norms if graph.resolve(one.y) == skeleton.entry), None)


def _norm_of(skeleton: Skeleton, value: int) -> Norm | None:
    """The norm whose output a value is."""
    target = skeleton.graph.resolve(value)
    return next((norm for norm in skeleton.norms if skeleton.graph.resolve(norm.y) == target), None)


def _to_residual(skeleton: Skeleton, layer: Layer, linear: Linear, role: str) -> tuple[int, int, float]:
    """From a sublayer's last linear to the addition: (sum, the other operand, factor on the sublayer's output)."""
    graph = skeleton.graph
    current, factor = linear.y, 1.0
    for _ in range(12):
        norm = next((one for one in skeleton.norms if one.x == graph.resolve(current)), None)
        users = uses(graph, current)
        if norm is not None:
            layer.norms[role] = norm
            current = norm.y
            continue
        if not users:
            break
        node = users[0]
        operand = next(value for value in node.inputs if graph.resolve(value) == graph.resolve(current))
        if node.op == "add" and len(graph.data_inputs(node)) == 2:
            other = next(value for value in node.inputs if value != operand)
            alpha = float(node.kwargs.get("alpha", node.args[2] if len(node.args) > 2 else 1.0))
            scale = alpha if node.inputs[-1] == operand else 1.0
            return node.outputs[0], other, clean(factor * scale)
        if not is_scalar_factor(graph, node, operand):
            skeleton.complain(role, f"{node.op} between a sublayer and the residual", node.where)
        else:
            factor *= ratio(graph.tensors[node.outputs[0]], graph.tensors[operand]) or 1.0
        current = node.outputs[0]
    raise Unmeasured(f"the output of {linear.weight} is not added to a residual ({short(linear.where)})")


def _without_factors(skeleton: Skeleton, layer: Layer, residual: int, role: str) -> int:
    """The residual before a learned factor on each channel."""
    graph = skeleton.graph
    node = graph.made_by(graph.resolve(residual))
    if node is None or node.op != "mul" or _norm_of(skeleton, residual) is not None:
        return residual
    data = graph.data_inputs(node)
    weights = [graph.resolve(value) for value in node.inputs if not graph.depends[value]]
    if len(data) != 1 or len(weights) != 1 or weights[0] not in graph.params:
        return residual
    if graph.tensors[weights[0]].shape != graph.tensors[data[0]].shape[-1:]:
        return residual
    layer.residual_factors[role] = graph.params[weights[0]]
    return data[0]


def _outer_add(skeleton: Skeleton, total: int, factor: float, layer: Layer) -> tuple[int, int, float]:
    """attention + MLP were added first: the sum that joins the residual, (residual, new sum, factor)."""
    graph = skeleton.graph
    current = total
    for node in uses(graph, current)[:2]:
        if node.op == "add" and len(graph.data_inputs(node)) == 2:
            other = next(value for value in node.inputs if graph.resolve(value) != graph.resolve(current))
            return other, node.outputs[0], factor
    raise Unmeasured(f"attention and MLP of {layer.prefix} are added to each other and to nothing else")


def _input_norms(skeleton: Skeleton, layer: Layer, base: int) -> None:
    """Norms on the input of mixer and MLP; one whose output is the residual itself (`base`: the MLP's) is none."""
    graph = skeleton.graph
    first = layer.entries()[0]
    pairs = [("norm.pre_attn", first)] + (
        [("norm.pre_mlp", layer.inputs[0])] if layer.inputs and not layer.alone else []
    )
    for role, linear in pairs:
        norm = _norm_of(skeleton, linear.x)
        plain = graph.resolve(linear.x)
        if norm is None and (start := unscaled(graph, plain)) != plain:
            if role == "norm.pre_attn" and not layer.recurrent and layer.latent is None:
                layer.input_factor = ratio(graph.tensors[plain], graph.tensors[start]) or 1.0
            else:
                skeleton.complain(role, "a factor between norm and projection", graph.where(plain))
            norm = _norm_of(skeleton, start)
        if norm is not None and graph.resolve(norm.y) == (layer.entry if role == "norm.pre_attn" else base):
            continue
        shared = role == "norm.pre_mlp" and norm is not None and norm is layer.norms.get("norm.pre_attn")
        if norm is not None and not shared:
            layer.norms[role] = norm
        if role == "norm.pre_attn" and norm is not None and norm.x != layer.entry:
            skeleton.complain(role, "the residual is taken after the norm, or the norm acts elsewhere", norm.where)
    for linear in layer.entries()[1:]:
        if graph.resolve(linear.x) != graph.resolve(first.x):
            skeleton.complain(f"{layer.prefix}attention", "q, k and v have different inputs", linear.where)


def _output_norms(skeleton: Skeleton, layer: Layer) -> None:
    """Norms inside attention and MLP, on the input of the last projection."""
    ends = [] if layer.recurrent else [("norm.pre_o", layer.o)]
    if layer.moe is None and layer.down is not None:
        ends.append(("norm.pre_down", layer.down))
    for role, linear in ends:
        norm = _norm_of(skeleton, linear.x)
        if norm is not None and all(norm is not known for known in layer.norms.values()):
            layer.norms[role] = norm


def _inner_norms(skeleton: Skeleton, layer: Layer) -> None:
    graph = skeleton.graph
    if layer.recurrent:
        return
    if layer.latent is not None:
        layer.norms |= latent_norms(graph, layer.latent, skeleton.norms)
        layer.choice = find_choice(graph, layer.site, layer.inside, skeleton.norms)
    ends = layer.projections()
    stop = {graph.resolve(linear.y) for linear in ends} | {linear.y for linear in ends}
    paths = {
        "norm.q": graph.ancestors(layer.site.q, stop),
        "norm.k": graph.ancestors(layer.site.k, stop),
        "norm.v": graph.ancestors(layer.site.v, stop),
    }
    taken = {id(norm) for norm in layer.norms.values()}
    for norm in skeleton.norms:
        if id(norm) in taken:
            continue
        for role, path in paths.items():
            if norm.y in path and norm.x in path:
                if role in layer.norms:
                    skeleton.complain(role, "more than one norm on the way", norm.where)
                layer.norms[role] = norm
                break
