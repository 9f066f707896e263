"""Decoder layers put together from linears, norms and attention sites: which is which, by what feeds what."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import torch

from probes.experts.find import Moe, find_moe
from probes.graph.after_norm import residual_is_normed
from probes.graph.heads import join_heads
from probes.graph.structure import Linear, Norm, Site, find_linears, find_norms, find_sites, sources
from probes.graph.trace import PARTS, VIEWS, Graph, Node
from probes.graph.values import Unmeasured, clean, is_scalar_factor, ratio, unscaled, uses
from probes.head import Transform, find_transform
from probes.mixers.beside import Beside, join, pair_up
from probes.mixers.delta import NORM_ROLE, Decay, Delta, find_decays, read_delta
from probes.mixers.indexer import Choice, find_choice
from probes.mixers.kinds import find_mixers
from probes.mixers.mamba import Scan, Step, find_steps, is_scan, read_scan
from probes.mixers.mla import Latent, find_latent, latent_norms
from probes.mixers.own import Mark, Mixer


@dataclass
class Layer:
    """One decoder layer."""

    index: int
    prefix: str
    """Common beginning of its tensors' names, up to and including the layer number."""
    site: Site
    """None in a layer where a gated delta net mixes positions."""
    q: Linear
    k: Linear
    v: Linear
    o: Linear
    inputs: list[Linear] = field(default_factory=list)
    """First linears of the MLP: gate and up, or up alone, or both fused."""
    down: Linear | None = None
    norms: dict[str, Norm] = field(default_factory=dict)
    """By role."""
    moe: Moe | None = None
    """Its experts, where it has them; `inputs` and `down` are stand-ins then."""
    parallel: bool = False
    attention_factor: float = 1.0
    mlp_factor: float = 1.0
    entry: int = -1
    """The residual stream on entry."""
    latent: Latent | None = None
    """Projections of a latent attention; then `q` is its query up projection, `k` and `v` the one of the latent."""

    score_bias: torch.Tensor | None = None
    """[heads, 1, S]: what keys compute and add to the scores, once that was measured."""
    single_values: torch.Tensor | None = None
    """[heads, S, head_dim]: the values of each head alone where heads have those of two, once that was measured."""
    residual_factors: dict[str, str] = field(default_factory=dict)
    """Role -> tensor of the factors, one a channel, on the residual to which a sublayer is added."""
    choice: Choice | None = None
    """How keys are chosen, where a latent attention sees only some of them."""
    inside: list[Linear] = field(default_factory=list)
    """Linears between the mixer's input and its output projection that are none of its projections."""
    delta: Delta | None = None
    """A gated delta net in the place of attention; then `q`, `k` and `v` are the first of its projections."""
    scan: Scan | None = None
    """A state space layer in the place of attention; then `q`, `k` and `v` are its input projection."""
    beside: Beside | None = None
    """A state space layer that takes the same norm as the attention; their sum joins the residual."""
    input_factor: float = 1.0
    """Between the norm and the projections of attention."""
    own: Mixer | None = None
    """A mixer that megatron-core has no module for; then `q`, `k` and `v` are the first of its projections."""
    normed_sums: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Factors on residual and output of `mixer` and `mlp`, where the residual is what the norm on the input puts out;
    then `attention_factor` and `mlp_factor` are one."""
    bare: bool = False
    """No MLP follows the mixer."""
    alone: bool = False
    """An MLP (or experts) alone, without a mixer; then `q`, `k` and `v` are its first linear, and `o` its last."""

    @property
    def recurrent(self) -> bool:
        """Whether something else than attention mixes positions, or nothing."""
        return self.delta is not None or self.scan is not None or self.own is not None or self.alone

    @property
    def core(self) -> int:
        """What the mixer computes, before its output projection."""
        return self.o.x if self.recurrent else self.site.context

    @property
    def attended(self) -> int:
        """What attention puts out: the input of its output projection, before a norm that acts on that."""
        norm = self.norms.get("norm.pre_o")
        return self.o.x if norm is None else norm.x

    @property
    def activated(self) -> int | None:
        """What activation and product of a plain MLP give, before a norm that acts on that."""
        norm = self.norms.get("norm.pre_down")
        return norm.x if norm is not None else None if self.down is None else self.down.x

    def projections(self) -> tuple[Linear, ...]:
        """The linears before the attention."""
        if self.delta is not None:
            return tuple(linear for _, linear in self.delta.linears)
        if self.scan is not None:
            return (self.scan.inp,)
        if self.own is not None:
            return tuple(linear for _, linear in self.own.entries)
        if self.alone:
            return tuple(self.inputs)
        return self.latent.linears() if self.latent else (self.q, self.k, self.v)

    def entries(self) -> tuple[Linear, ...]:
        """Those of them that take the residual stream."""
        return self.latent.entries() if self.latent else self.projections()


@dataclass
class Skeleton:
    """The whole decoder."""

    graph: Graph
    layers: list[Layer]
    norms: list[Norm]
    embedding: Node
    positions: Node | None
    head: Linear
    embed_norm: Norm | None
    final_norm: Norm | None
    entry: int
    """The residual stream on entry of the first layer."""
    complaints: list[tuple[str, str, str | None]] = field(default_factory=list)
    """(subject, reason, source line) of everything that does not fit a plain decoder."""

    after_norm: bool = False
    """The residual of each sublayer is what the norm on its input puts out."""
    transform: Transform | None = None
    """What lies between the final norm and the head."""

    def complain(self, subject: str, reason: str, where: str | None = None) -> None:
        """Note something that no rule accounts for."""
        self.complaints.append((subject, reason, where))


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
    stream = _walk(skeleton)
    _end(skeleton, stream, linears)
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
        out = _first_linear_after(graph, found.value, by_output)
        delta = read_delta(graph, found, out, norms, by_output)
        first = delta.linears[0][1]
        layer = Layer(index, "", None, first, first, first, out, delta=delta)  # type: ignore[arg-type]
        layer.norms[NORM_ROLE] = delta.norm
        layers.append(layer)
    return layers


def _state_space(graph: Graph, index: int, step: Step, by_output: dict[int, Linear]) -> Layer:
    out = _first_linear_after(graph, step.node.outputs[0], by_output)
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
        output = _first_linear_after(graph, site.context, by_output)
        return Layer(index, "", site, latent.q, latent.kv_b, latent.kv_b, output, latent=latent)
    found = []
    for name, value in (("queries", site.q), ("keys", site.k), ("values", site.v)):
        linears, _ = sources(graph, value, by_output)
        if len(linears) != 1:
            where = site.product.where
            raise Unmeasured(
                f"{name} of attention {index} come from {len(linears)} linears, not one ({_short(where)})"
            )
        found.append(linears[0])
    output = _first_linear_after(graph, site.context, by_output)
    return Layer(index, "", site, *found, output)


def _short(where: str | None) -> str:
    return where.rsplit("/", 1)[-1] if where else "?"


def _first_linear_after(graph: Graph, value: int, by_output: dict[int, Linear]) -> Linear:
    todo, seen = [value], {value}
    while todo:
        current = todo.pop(0)
        for node in graph.users(current):
            for out in node.outputs:
                if out in by_output:
                    return by_output[out]
                if out not in seen:
                    seen.add(out)
                    todo.append(out)
    raise Unmeasured("no linear takes the attention's output")


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
        f"{len(runs)} layers run {len(layers)} times in one pass ({name} {times}; again at {_short(again.o.where)}): "
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


def _walk(skeleton: Skeleton) -> int | None:
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


def _end(skeleton: Skeleton, stream: int | None, linears: list[Linear]) -> None:
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
    raise Unmeasured(f"the output of {linear.weight} is not added to a residual ({_short(linear.where)})")


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


def unused_operators(graph: Graph, start: int, stop: int) -> list[Node]:
    """Operators on the way from `start` to `stop` that are no layout changes."""
    path = [value for value in graph.ancestors(stop, {start}) if graph.depends[value]]
    nodes = {graph.producer[value] for value in path if value != start and graph.producer[value] is not None}
    return [graph.nodes[index] for index in sorted(nodes) if graph.nodes[index].op not in VIEWS | PARTS]
