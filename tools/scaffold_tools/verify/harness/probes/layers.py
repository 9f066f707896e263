"""Decoder layers put together from linears, norms and attention sites: which is which, by what feeds what."""

from __future__ import annotations

from collections import Counter

from probes.experts.find import find_moe
from probes.graph.after_norm import residual_is_normed
from probes.graph.heads import join_heads
from probes.graph.structure import (
    Linear,
    Norm,
    Site,
    find_linears,
    find_norms,
    find_sites,
    first_linear_after,
    sources,
)
from probes.graph.trace import Graph, Node
from probes.graph.values import Unmeasured
from probes.mixers.delta import NORM_ROLE, Decay, find_decays, read_delta
from probes.mixers.kinds import find_mixers
from probes.mixers.mamba import Step, find_steps, is_scan, read_scan
from probes.mixers.mla import find_latent
from probes.mixers.own import Mark
from probes.pairs import pair_up
from probes.residual import read_end, walk_residual
from probes.skeleton import Layer, Skeleton, short


def assemble(graph: Graph) -> Skeleton:
    """Find the layers of a decoder.

    Raises:
        Unmeasured: the graph is no stack of softmax-attention layers.
    """
    linears, norms, sites = find_linears(graph), join_heads(graph, find_norms(graph)), find_sites(graph)
    by_output = _outputs(graph, linears)
    marks = find_mixers(graph, norms, by_output)
    if not sites and not marks and not find_steps(graph):
        raise Unmeasured("no softmax over positions: not an attention decoder")
    embedding, positions = _embeddings(graph)
    head = _head(graph, linears)
    layers = pair_up(graph, _mixers(graph, sites, norms, by_output, marks))
    _name_layers(layers)
    skeleton = Skeleton(graph, layers, norms, embedding, positions, head, None, None, -1)
    for layer in layers:
        _mlp(skeleton, layer, linears)
    _lone_mlps(skeleton, linears)
    skeleton.after_norm = residual_is_normed(graph, norms, [(one.prefix, one.entries()[0].x) for one in layers])
    stream = walk_residual(skeleton)
    read_end(skeleton, stream, linears)
    return skeleton


def _mixers(
    graph: Graph, sites: list[Site], norms: list[Norm], by_output: dict[int, Linear], marks: list[Mark]
) -> list[Layer]:
    """One layer for each attention and each other mixer, in call order."""
    places: list[tuple[int, Site | Decay | Step | Mark]] = [(site.softmax.index, site) for site in sites]
    places += [(mark.node.index, mark) for mark in marks]
    decays = {decay.node.index: decay for decay in find_decays(graph)}
    steps = [step for step in find_steps(graph) if is_scan(graph, step, by_output)]
    for one in (*steps, *marks):
        decays.pop(one.node.index, None)
    places += [*decays.items(), *((step.node.index, step) for step in steps)]
    layers = []
    for index, (_, found) in enumerate(sorted(places, key=lambda place: place[0])):
        if isinstance(found, Site):
            layers.append(_attention(graph, index, found, by_output))
            continue
        if isinstance(found, Step):
            layers.append(_state_space(graph, index, found, by_output))
            continue
        if isinstance(found, Mark):
            own = found.read()
            first = own.entries[0][1]
            layers.append(Layer(index, "", None, first, first, first, own.out, own=own))  # type: ignore[arg-type]
            continue
        out = first_linear_after(graph, found.value, by_output)
        delta = read_delta(graph, found, out, norms, by_output)
        first = delta.linears[0][1]
        layer = Layer(index, "", None, first, first, first, out, delta=delta)  # type: ignore[arg-type]
        layer.norms[NORM_ROLE] = delta.norm
        layers.append(layer)
    return layers


def _state_space(graph: Graph, index: int, step: Step, by_output: dict[int, Linear]) -> Layer:
    out = first_linear_after(graph, step.node.outputs[0], by_output)
    scan = read_scan(graph, step, out, by_output)
    return Layer(index, "", None, scan.inp, scan.inp, scan.inp, out, scan=scan)  # type: ignore[arg-type]


def _outputs(graph: Graph, linears: list[Linear]) -> dict[int, Linear]:
    """Linears by output value; a biased one also before the bias was added."""
    found = {linear.y: linear for linear in linears}
    for linear in linears:
        found[graph.resolve(linear.y)] = linear
    return found


def _embeddings(graph: Graph) -> tuple[Node, Node | None]:
    token, position = None, None
    for node in graph.nodes:
        if node.op != "embedding" or graph.resolve(node.inputs[0]) not in graph.params:
            continue
        if graph.depends[node.inputs[1]]:
            token = token or node
        else:
            position = position or node
    if token is None:
        raise Unmeasured("no embedding is looked up by token id")
    return token, position


def _head(graph: Graph, linears: list[Linear]) -> Linear:
    behind = graph.ancestors(graph.output)
    candidates = [linear for linear in linears if linear.y in behind]
    if not candidates or candidates[-1].outputs != graph.tensors[graph.output].shape[-1]:
        raise Unmeasured("the logits do not come from one linear")
    return candidates[-1]


def _attention(graph: Graph, index: int, site: Site, by_output: dict[int, Linear]) -> Layer:
    latent = find_latent(graph, site, by_output)
    if latent is not None:
        output = first_linear_after(graph, site.context, by_output)
        return Layer(index, "", site, latent.q, latent.kv_b, latent.kv_b, output, latent=latent)
    found = []
    for name, value in (("queries", site.q), ("keys", site.k), ("values", site.v)):
        linears, _ = sources(graph, value, by_output)
        if len(linears) != 1:
            where = site.product.where
            raise Unmeasured(f"{name} of attention {index} come from {len(linears)} linears, not one ({short(where)})")
        found.append(linears[0])
    output = first_linear_after(graph, site.context, by_output)
    return Layer(index, "", site, *found, output)


def _name_layers(layers: list[Layer]) -> None:
    """The layer number is the component in which the same tensor's name differs from layer to layer."""
    split = [layer.o.weight.split(".") for layer in layers]
    place = next(
        (
            position
            for position in range(min(map(len, split)))
            if split[0][position].isdigit() and len({parts[position] for parts in split}) == len(split)
        ),
        None,
    )
    if place is None:
        _complain_of_sharing(layers)
    for layer, parts in zip(layers, split, strict=True):
        layer.prefix = ".".join(parts[: place + 1]) + "."


def _complain_of_sharing(layers: list[Layer]) -> None:
    """Say what shares the weights where they are not the layers' own.

    Raises:
        Unmeasured: always.
    """
    runs = Counter(layer.o.weight for layer in layers)
    name, times = runs.most_common(1)[0]
    if times == 1:
        raise Unmeasured("the layers do not own their weights one by one")
    again = [layer for layer in layers if layer.o.weight == name][1]
    raise Unmeasured(
        f"{len(runs)} layers run {len(layers)} times in one pass ({name} {times}; again at {short(again.o.where)}): "
        "a stack that feeds itself needs a TransformerBlock of megatron-core that runs its layers more than once, "
        "and pipeline stages that get their output back"
    )


def _mlp(skeleton: Skeleton, layer: Layer, linears: list[Linear]) -> None:
    graph = skeleton.graph
    known = {linear.node for linear in (*layer.projections(), layer.o)}
    if layer.beside is not None:
        known |= {layer.beside.scan.inp.node, layer.beside.scan.out.node}
    before = graph.ancestors(layer.o.x)
    if layer.own is not None:  # its gates may be stacks of matrices, as experts are
        known |= {node.index for node in graph.nodes if before.intersection(node.outputs)}
    own = [one for one in linears if one.weight.startswith(layer.prefix) and one.node not in known]
    layer.inside = [one for one in own if one.y in before]
    own = [one for one in own if one.y not in before]
    try:
        layer.moe = find_moe(graph, skeleton.norms, layer.prefix, own, known)
    except Unmeasured as reason:
        skeleton.complain(f"{layer.prefix}moe", str(reason), own[-1].where if own else None)
        return
    if not own:
        layer.bare = True
        return
    if layer.moe is not None:
        layer.inputs, layer.down = [layer.moe.entry], layer.moe.exit
        layer.parallel = graph.resolve(layer.o.y) not in graph.ancestors(layer.moe.x)
        return
    outputs = {one.y: one for one in own}
    ends = {one.y for one in own}
    behind = {one.node: [mate for mate in own if mate.y in graph.ancestors(one.x, ends)] for one in own}
    layer.inputs = [one for one in own if not behind[one.node]]
    last = [one for one in own if behind[one.node]]
    if len(last) != 1 or len(layer.inputs) not in (1, 2) or not outputs:
        seen = ", ".join(f"{one.weight} {one.inputs}->{one.outputs}" for one in own) or "none"
        where = own[0].where if own else None
        skeleton.complain(f"{layer.prefix}mlp", f"no plain MLP: linears beside attention are {seen}", where)
        layer.inputs = []
        return
    layer.down = last[0]
    layer.parallel = graph.resolve(layer.o.y) not in graph.ancestors(layer.inputs[0].x)


def _lone_mlps(skeleton: Skeleton, linears: list[Linear]) -> None:
    """Layers between the others that have an MLP or experts, and no mixer of their own."""
    graph, layers = skeleton.graph, skeleton.layers
    stem = layers[0].prefix.rstrip(".").rpartition(".")[0] + "."
    seen = {name.removeprefix(stem).partition(".")[0] for name in graph.params.values() if name.startswith(stem)}
    known = {layer.prefix for layer in layers}
    for number in seen:
        prefix = f"{stem}{number}."
        own = [one for one in linears if one.weight.startswith(prefix)]
        if not number.isdigit() or prefix in known or not own:
            continue
        layer = Layer(0, prefix, None, own[0], own[0], own[0], own[-1], alone=True)  # type: ignore[arg-type]
        moe = find_moe(graph, skeleton.norms, prefix, own, set())
        if moe is not None:
            layer.moe, layer.inputs, layer.down = moe, [moe.entry], moe.exit
        else:
            ends = {one.y for one in own}
            last = [one for one in own if graph.ancestors(one.x, ends) & ends]
            layer.inputs = [one for one in own if one not in last]
            if len(last) != 1 or len(layer.inputs) not in (1, 2):
                skeleton.complain(f"{prefix}mlp", "a layer without a mixer that is no plain MLP", own[0].where)
                continue
            layer.down = last[0]
        layer.q = layer.k = layer.v = layer.inputs[0]
        layer.o = layer.down
        layers.append(layer)
    layers.sort(key=lambda layer: int(layer.prefix.rstrip(".").rpartition(".")[2]))
    for index, layer in enumerate(layers):
        layer.index = index
