"""Parts of a decoder found in the graph: linears, norms, attention sites. No names are looked at."""

from __future__ import annotations

from dataclasses import dataclass

from probes.graph.trace import PARTS, VIEWS, Graph, Node, Ref
from probes.graph.values import Unmeasured

PRODUCTS = frozenset({"bmm", "baddbmm", "mm", "addmm", "matmul"})
SOFTMAXES = frozenset({"_softmax", "_safe_softmax", "softmax"})


@dataclass(frozen=True)
class Linear:
    """One use of a weight matrix."""

    weight: str
    bias: str | None
    x: int
    """Input value, layout changes removed."""
    y: int
    """Output value (after the bias)."""
    inputs: int
    outputs: int
    transposed: bool
    """The weight is stored [in, out]."""
    node: int
    where: str


@dataclass(frozen=True)
class Norm:
    """One use of a norm."""

    x: int
    """Input value, layout changes removed."""
    source: int
    """Input value in the layout of `y`."""
    y: int
    weight: str | None
    bias: str | None
    eps: float | None
    """As the operator got it; None where it has to be fitted."""
    node: int
    where: str
    weights: tuple[str, ...] = ()
    """One weight a head, where heads have norms of their own; then `weight` is the first of them."""
    biases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Site:
    """One attention: softmax(scores) @ values."""

    q: int
    """[heads, S, head_dim], as multiplied."""
    k: int
    """[heads, head_dim, S], as multiplied."""
    v: int
    """[heads, S, value_dim], as multiplied."""
    product: Node
    softmax: Node
    between: tuple[Node, ...]
    """Operators from the product to the softmax, last first."""
    context: int
    """softmax @ values."""


def find_linears(graph: Graph) -> list[Linear]:
    """Every product of data with a two-dimensional parameter, in call order."""
    found = []
    for node in graph.nodes:
        if node.op not in PRODUCTS:
            continue
        operands = [value for value in node.inputs[-2:]]
        data = [value for value in operands if graph.depends[value]]
        weights = [value for value in operands if graph.resolve(value) in graph.params]
        if len(data) != 1 or len(weights) != 1:
            continue
        leaf = graph.resolve(weights[0])
        if graph.tensors[leaf].dim() != 2:
            continue
        found.append(_linear(graph, node, data[0], leaf, weights[0]))
    return found


def _linear(graph: Graph, node: Node, data: int, leaf: int, operand: int) -> Linear:
    weight = graph.tensors[leaf]
    outputs = graph.tensors[node.outputs[0]].shape[-1]
    inputs = graph.tensors[data].shape[-1]
    turned = any(step.op in ("t", "transpose", "permute") for step in _steps(graph, operand))
    bias = None
    if node.op in ("addmm", "baddbmm"):
        bias = graph.params.get(graph.resolve(node.inputs[0]))
    y = node.outputs[0]
    if bias is None:
        bias, y = _added_bias(graph, y)
    transposed = not turned and tuple(weight.shape) == (inputs, outputs)
    return Linear(
        graph.params[leaf], bias, graph.resolve(data), y, inputs, outputs, transposed, node.index, node.where
    )


def _steps(graph: Graph, value: int) -> list[Node]:
    steps = []
    while (node := graph.made_by(value)) is not None and node.inputs:
        steps.append(node)
        value = node.inputs[0]
    return steps


def _added_bias(graph: Graph, y: int) -> tuple[str | None, int]:
    """A one-dimensional parameter that is added to the whole output afterwards."""
    current = y
    while len(users := graph.users(current)) == 1 and users[0].op in VIEWS:
        current = users[0].outputs[0]
    if len(users) != 1 or users[0].op != "add":
        return None, y
    others = [graph.resolve(value) for value in users[0].inputs if not graph.depends[value]]
    if len(others) == 1 and others[0] in graph.params and graph.tensors[others[0]].dim() == 1:
        return graph.params[others[0]], users[0].outputs[0]
    return None, y


def find_norms(graph: Graph) -> list[Norm]:
    """Every normalisation over the last dimension: fused operators, and hand-written ones by their root."""
    found = []
    for node in graph.nodes:
        if not any(graph.depends[value] for value in node.inputs):
            continue
        if node.op in ("native_layer_norm", "_fused_rms_norm", "rms_norm", "layer_norm"):
            found.append(_fused(graph, node))
        elif _is_root(node):
            norm = _written_out(graph, node)
            if norm is not None:
                found.append(norm)
    return found


def _fused(graph: Graph, node: Node) -> Norm:
    tensors = [arg.value if isinstance(arg, Ref) else None for arg in node.args]
    weight = _one_param(graph, tensors[2] if len(tensors) > 2 else None)
    bias = None
    if node.op in ("native_layer_norm", "layer_norm"):
        bias = _one_param(graph, tensors[3] if len(tensors) > 3 else None)
    eps = node.args[-1] if isinstance(node.args[-1], float) else None
    y, more_weight, more_bias = _affine(graph, node.outputs[0])
    source = node.inputs[0]
    return Norm(
        graph.resolve(source), source, y, weight or more_weight, bias or more_bias, eps, node.index, node.where
    )


def _is_root(node: Node) -> bool:
    if node.op == "pow":
        return node.args[-1] in (-0.5, 0.5)
    return node.op in ("rsqrt", "sqrt", "linalg_vector_norm")


def _written_out(graph: Graph, root: Node) -> Norm | None:
    """x * rsqrt(mean(x**2) + eps), and its variants with a mean subtracted or a division."""
    reduced = root.outputs[0]
    if graph.tensors[reduced].shape[-1:] not in ((1,),) and root.op != "linalg_vector_norm":
        return None
    for _ in range(6):
        users = [node for node in graph.users(reduced) if node.op not in ("item",)]
        full = [
            node for node in users if node.op in ("mul", "div") and _data_operand(graph, node, reduced) is not None
        ]
        if full:
            return _from_product(graph, root, full[0], reduced)
        if len(users) != 1 or not users[0].outputs:
            return None
        reduced = users[0].outputs[0]
    return None


def _data_operand(graph: Graph, node: Node, reduced: int) -> int | None:
    others = [value for value in node.inputs if value != reduced and graph.depends[value]]
    if len(others) == 1 and graph.tensors[others[0]].numel() > graph.tensors[reduced].numel():
        return others[0]
    return None


def _from_product(graph: Graph, root: Node, product: Node, reduced: int) -> Norm:
    source = _data_operand(graph, product, reduced)
    x = graph.resolve(source)
    made = graph.made_by(x)
    if made is not None and made.op == "sub":
        first, second = made.inputs[0], made.inputs[-1]
        mean = graph.made_by(graph.resolve(second))
        if mean is not None and mean.op == "mean" and graph.resolve(mean.inputs[0]) == graph.resolve(first):
            source, x = first, graph.resolve(first)
    y, weight, bias = _affine(graph, product.outputs[0])
    if weight is None and (before := _weighed_before(graph, root, x)) is not None:
        weight, source = before
        x = graph.resolve(source)
    return Norm(x, source, y, weight, bias, _eps_argument(graph, root), root.index, product.where)


def _weighed_before(graph: Graph, root: Node, x: int) -> tuple[str, int] | None:
    """(weight, input) where a norm is written `weight * x * rsqrt(mean(x**2) + eps)`: x is then the first product."""
    node = graph.made_by(x)
    if node is None or node.op != "mul" or x in graph.ancestors(root.inputs[0]):
        return None
    data = graph.data_inputs(node)
    others = [value for value in node.inputs if not graph.depends[value]]
    name = _one_param(graph, others[0]) if len(data) == len(others) == 1 else None
    if name is None or graph.tensors[others[0]].numel() == 1:
        return None
    return (name, data[0]) if graph.resolve(data[0]) in graph.ancestors(root.inputs[0]) else None


def _eps_argument(graph: Graph, root: Node) -> float | None:
    """The number added to the mean square just before the root."""
    node = graph.made_by(graph.resolve(root.inputs[0]))
    if node is None or node.op != "add":
        return None
    numbers = [arg for arg in node.args if isinstance(arg, float)]
    numbers += [
        float(graph.tensors[value])
        for value in node.inputs
        if graph.tensors[value].numel() == 1 and not graph.depends[value]
    ]
    return numbers[0] if len(numbers) == 1 else None


def _affine(graph: Graph, value: int) -> tuple[int, str | None, str | None]:
    """Follow a normalised value through its weight and its bias."""
    y, weight, bias = value, None, None
    current = value
    while True:
        users = graph.users(current)
        if len(users) != 1 or not users[0].outputs:
            return y, weight, bias
        node = users[0]
        if node.op in VIEWS:
            if node.op in ("view", "_unsafe_view", "reshape", "transpose", "permute", "expand"):
                return y, weight, bias
            current = node.outputs[0]
            continue
        others = [other for other in node.inputs if other != current]
        name = _one_param(graph, others[0]) if len(others) == 1 and not graph.depends[others[0]] else None
        if name is None or node.op not in ("mul", "add") or graph.tensors[others[0]].numel() == 1:
            return y, weight, bias
        if node.op == "mul" and weight is None:
            weight = name
        elif node.op == "add" and bias is None:
            bias = name
        else:
            return y, weight, bias
        y = current = node.outputs[0]


def _one_param(graph: Graph, value: int | None) -> str | None:
    if value is None:
        return None
    names = {graph.params[one] for one in graph.ancestors(value) if one in graph.params}
    return names.pop() if len(names) == 1 else None


def find_sites(graph: Graph) -> list[Site]:
    """Every softmax over positions whose scores are a product of two data values."""
    found = []
    for node in graph.nodes:
        if node.op not in SOFTMAXES or not graph.depends[node.inputs[0]]:
            continue
        shape = graph.tensors[node.outputs[0]].shape
        if len(shape) < 2 or shape[-2] != graph.length or shape[-1] < graph.length:
            continue
        site = _site(graph, node)
        if site is not None:
            found.append(site)
    return found


def _site(graph: Graph, softmax: Node) -> Site | None:
    between: list[Node] = []
    value = softmax.inputs[0]
    while True:
        value = graph.resolve(value)
        node = graph.made_by(value)
        if node is None:
            return None
        if node.op in ("bmm", "baddbmm"):
            break
        data = [one for one in graph.data_inputs(node) if graph.tensors[one].shape[-1] >= graph.length]
        if not data:
            return None
        between.append(node)
        value = data[0]
    q, k = node.inputs[-2:]
    product = _product_with(graph, softmax.outputs[0])
    if product is None:
        return None
    return Site(q, k, product.inputs[-1], node, softmax, tuple(between), product.outputs[0])


def _product_with(graph: Graph, value: int) -> Node | None:
    todo = [value]
    for _ in range(40):
        if not todo:
            return None
        for node in graph.users(todo.pop(0)):
            if node.op in ("bmm", "baddbmm"):
                return node
            if node.op in VIEWS | PARTS | {"native_dropout", "dropout", "mul"}:
                todo.extend(node.outputs)
    return None


def sources(graph: Graph, value: int, by_output: dict[int, Linear]) -> tuple[list[Linear], set[int]]:
    """The linears that a value comes from (nearest first hit on each path), and every value on the way."""
    found: dict[int, Linear] = {}
    seen: set[int] = set()
    todo = [value]
    while todo:
        current = todo.pop()
        if current in seen or not graph.depends[current]:
            continue
        seen.add(current)
        if current in by_output:
            linear = by_output[current]
            found[linear.node] = linear
            continue
        node = graph.made_by(current)
        if node is not None:
            todo.extend(node.inputs)
    return [found[index] for index in sorted(found)], seen


def first_linear_after(graph: Graph, value: int, by_output: dict[int, Linear]) -> Linear:
    """The nearest linear that takes what follows from a value."""
    todo, seen = [value], {value}
    while todo:
        for node in graph.users(todo.pop(0)):
            for out in node.outputs:
                if out in by_output:
                    return by_output[out]
                if out not in seen:
                    seen.add(out)
                    todo.append(out)
    raise Unmeasured("no linear takes the output of a mixer")
