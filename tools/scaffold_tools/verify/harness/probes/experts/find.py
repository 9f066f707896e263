"""Mixture-of-experts layers found in the graph: experts, router, shared expert. No names are looked at.

Experts are matrices of one parameter (or of parameters that differ in one number of their name) that data is
multiplied with. The weights with which a token's experts are added up are not followed through the code: they are
solved for, from the layer's output and the outputs that each expert would give for the token (`solve_weights`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import torch

from probes.graph.structure import PRODUCTS, Linear, Norm
from probes.graph.trace import PARTS, VIEWS, Graph, Node
from probes.graph.values import TOLERANCE, Unmeasured, is_scalar_factor, misfit

INDEX = re.compile(r"(?<=\.)\d+(?=\.|$)")


@dataclass(frozen=True)
class Use:
    """One expert's matrix applied to some tokens."""

    expert: int
    x: int
    y: int
    """After the bias."""
    node: int


@dataclass
class Bank:
    """One matrix of every expert."""

    params: tuple[str, ...]
    """One stacked parameter, or one parameter an expert."""
    stacked: bool
    transposed: bool
    """Each expert's matrix is stored [in, out]."""
    where: str
    bias: tuple[str, ...] = ()
    uses: list[Use] = field(default_factory=list)

    def matrix(self, tensors: dict[str, torch.Tensor], expert: int) -> torch.Tensor:
        """[out, in] of one expert."""
        found = tensors[self.params[0]][expert] if self.stacked else tensors[self.params[expert]]
        return (found.T if self.transposed else found).double()

    def offset(self, tensors: dict[str, torch.Tensor], expert: int) -> torch.Tensor | float:
        """Bias [out] of one expert; 0.0 where there is none."""
        if not self.bias:
            return 0.0
        return (tensors[self.bias[0]][expert] if self.stacked else tensors[self.bias[expert]]).double()


@dataclass
class Shared:
    """An expert that every token goes through; shaped like a layer for `fit_mlp`."""

    inputs: list[Linear]
    down: Linear
    gate: Linear | None = None
    """Linear with one output whose sigmoid multiplies the shared expert."""


@dataclass
class Moe:
    """The mixture-of-experts part of one layer."""

    router: Linear
    inputs: list[Bank]
    down: Bank
    experts: int
    shared: Shared | None
    x: int
    """Input [tokens, H] of the router."""
    output: int
    """What the layer adds to its residual, without factor and norm."""
    entry: Linear
    exit: Linear
    """Stand-ins for the first and last linear of a plain MLP, for whoever follows the residual stream."""


def find_moe(graph: Graph, norms: list[Norm], prefix: str, own: list[Linear], residual: set[int]) -> Moe | None:
    """The experts of a layer; None where it has none.

    Args:
        prefix: beginning of the names of the layer's tensors.
        own: the layer's linears outside attention.
        residual: nodes of the layer's attention linears.

    Raises:
        Unmeasured: there are experts, but not as one router, one set of matrices and at most one shared expert.
    """
    banks = _banks(graph, prefix, own, residual)
    if not banks:
        return None
    listed = {name for bank in banks for name in bank.params}
    rest = [one for one in own if one.weight not in listed]
    first, last = _order(graph, banks)
    experts = _count(graph, last)
    router = _router(graph, rest, experts, last)
    shared = _shared(graph, [one for one in rest if one is not router])
    starts = {use.y for bank in banks for use in bank.uses} | {one.y for one in rest}
    output = _output(graph, norms, starts)
    entry = Linear(first[0].params[0], None, router.x, first[0].uses[0].y, router.inputs, 0, False, -1, router.where)
    leave = Linear(last.params[0], None, last.uses[0].x, output, 0, router.inputs, False, -1, last.where)
    return Moe(router, first, last, experts, shared, router.x, output, entry, leave)


def _banks(graph: Graph, prefix: str, own: list[Linear], known: set[int]) -> list[Bank]:
    banks: dict[str, Bank] = {}
    for node in graph.nodes:
        if node.op not in PRODUCTS or node.index in known:
            continue
        found = _stacked_product(graph, node)
        if found is None or not graph.params[found[0]].startswith(prefix):
            continue
        leaf, data, weight = found
        name = graph.params[leaf]
        bank = banks.get(name)
        if bank is None:
            bank = banks[name] = Bank((name,), True, not _turned(graph, weight), node.where)
        _add_stacked_uses(graph, bank, node, data, weight)
    return [*banks.values(), *_listed_banks(graph, own)]


def _stacked_product(graph: Graph, node: Node) -> tuple[int, int, int] | None:
    """(leaf of a three-dimensional parameter, data operand, weight operand) of a product with an expert's matrix."""
    operands = list(node.inputs[-2:])
    data = [value for value in operands if graph.depends[value]]
    rest = [value for value in operands if not graph.depends[value]]
    if len(data) != 1 or len(rest) != 1:
        return None
    leaf = graph.part_of(rest[0])
    if leaf not in graph.params or graph.tensors[leaf].dim() != 3:
        return None
    return leaf, data[0], rest[0]


def _chain(graph: Graph, value: int) -> list[Node]:
    steps = []
    while (node := graph.made_by(value)) is not None and node.inputs and node.op in VIEWS | PARTS:
        steps.append(node)
        value = node.inputs[0]
    return steps


def _turned(graph: Graph, weight: int) -> bool:
    return any(step.op in ("t", "transpose", "permute") for step in _chain(graph, weight))


def _add_stacked_uses(graph: Graph, bank: Bank, node: Node, data: int, weight: int) -> None:
    selects = [step for step in _chain(graph, weight) if step.op == "select"]
    y = node.outputs[0]
    name, after = _bank_bias(graph, node, y)
    if name is not None:
        bank.bias, y = (name,), after
    if selects:
        bank.uses.append(Use(int(selects[-1].args[2]), data, y, node.index))
    elif graph.tensors[weight].dim() == 3:  # all experts at once
        bank.uses.append(Use(-1, data, y, node.index))


def _bank_bias(graph: Graph, node: Node, y: int) -> tuple[str | None, int]:
    """A row of a two-dimensional parameter [E, out] that is added to the product."""
    if node.op in ("addmm", "baddbmm"):
        leaf = graph.part_of(node.inputs[0])
        return graph.params.get(leaf), y
    current = y
    while len(users := graph.users(current)) == 1 and users[0].op in VIEWS and users[0].outputs:
        current = users[0].outputs[0]
    if len(users) == 1 and users[0].op == "add":
        for value in users[0].inputs:
            leaf = graph.part_of(value)
            if not graph.depends[value] and leaf in graph.params and graph.tensors[leaf].dim() == 2:
                return graph.params[leaf], users[0].outputs[0]
    return None, y


def _listed_banks(graph: Graph, own: list[Linear]) -> list[Bank]:
    """Experts with parameters of their own: names that differ in the last number."""
    groups: dict[str, list[tuple[int, Linear]]] = {}
    for linear in own:
        numbers = list(INDEX.finditer(linear.weight))
        if len(numbers) < 2:
            continue
        spot = numbers[-1]
        pattern = linear.weight[: spot.start()] + "*" + linear.weight[spot.end() :]
        groups.setdefault(pattern, []).append((int(spot.group()), linear))
    banks = []
    for pattern, members in groups.items():
        if len({number for number, _ in members}) < 2 or _is_chain(graph, [one for _, one in members]):
            continue
        known = set(graph.params.values())
        numbers = range(max(number for number, _ in members) + 1)
        names = tuple(pattern.replace("*", str(number)) for number in numbers)
        if not set(names) <= known:
            raise Unmeasured(f"not every expert of {pattern} was used, or they are no stack")
        linear = members[0][1]
        bank = Bank(names, False, linear.transposed, linear.where)
        if linear.bias:
            bank.bias = tuple(name.removesuffix("weight") + "bias" for name in names)
        bank.uses = [Use(number, one.x, one.y, one.node) for number, one in members]
        banks.append(bank)
    return banks


def _is_chain(graph: Graph, members: list[Linear]) -> bool:
    """Whether one feeds another: `nn.Sequential` numbers its members too, but experts stand side by side."""
    outputs = {one.y for one in members}
    return any(outputs & graph.ancestors(one.x, outputs) for one in members)


def _order(graph: Graph, banks: list[Bank]) -> tuple[list[Bank], Bank]:
    """(first matrices, last matrix): gate and up, or both in one, and down."""
    ends = {use.y for bank in banks for use in bank.uses}
    behind = []
    for bank in banks:
        reach = graph.ancestors(bank.uses[0].x, ends)
        behind.append(any(use.y in reach for other in banks if other is not bank for use in other.uses))
    first = [bank for bank, after in zip(banks, behind, strict=True) if not after]
    last = [bank for bank, after in zip(banks, behind, strict=True) if after]
    if len(last) != 1 or len(first) not in (1, 2):
        seen = ", ".join(bank.params[0] for bank in banks)
        raise Unmeasured(f"experts are no plain MLPs: their matrices are {seen}")
    return first, last[0]


def _count(graph: Graph, bank: Bank) -> int:
    if not bank.stacked:
        return len(bank.params)
    leaf = next(value for value, name in graph.params.items() if name == bank.params[0])
    return int(graph.tensors[leaf].shape[0])


def _router(graph: Graph, rest: list[Linear], experts: int, last: Bank) -> Linear:
    found = [one for one in rest if one.outputs == experts]
    if len(found) != 1:
        seen = ", ".join(f"{one.weight} {one.inputs}->{one.outputs}" for one in rest) or "none"
        raise Unmeasured(f"no one linear gives {experts} router logits; linears beside the experts are {seen}")
    return found[0]


def _shared(graph: Graph, rest: list[Linear]) -> Shared | None:
    if not rest:
        return None
    gates = [one for one in rest if one.outputs == 1]
    body = [one for one in rest if one.outputs != 1]
    ends = {one.y for one in body}
    behind = {
        one.node: any(mate.y in graph.ancestors(one.x, ends) for mate in body if mate is not one) for one in body
    }
    first = [one for one in body if not behind[one.node]]
    last = [one for one in body if behind[one.node]]
    if len(last) != 1 or len(first) not in (1, 2) or len(gates) > 1:
        seen = ", ".join(f"{one.weight} {one.inputs}->{one.outputs}" for one in rest)
        raise Unmeasured(f"no plain shared expert: linears beside experts and router are {seen}")
    return Shared(first, last[0], gates[0] if gates else None)


def _output(graph: Graph, norms: list[Norm], starts: set[int]) -> int:
    """The value that joins the residual stream, back through factors and norms.

    Raises:
        Unmeasured: what the experts give is never added to anything else.
    """
    found = set(starts)
    for node in graph.nodes[min(graph.producer[value] or 0 for value in starts) :]:
        if not found.intersection(node.inputs):
            continue
        data = graph.data_inputs(node)
        inside = [value for value in data if value in found]
        whole = node.outputs and graph.tensors[node.outputs[0]].numel() % graph.length == 0
        if node.op == "add" and len(data) == 2 and len(inside) == 1 and whole:
            return _stripped(graph, norms, inside[0])
        found.update(node.outputs)
    raise Unmeasured("the experts' output joins no residual stream")


def _stripped(graph: Graph, norms: list[Norm], value: int) -> int:
    while True:
        value = graph.resolve(value)
        norm = next((one for one in norms if graph.resolve(one.y) == value), None)
        if norm is not None:
            value = norm.x
            continue
        node = graph.made_by(value)
        data = graph.data_inputs(node) if node is not None else []
        if node is None or len(data) != 1 or not is_scalar_factor(graph, node, data[0]):
            return value
        value = data[0]


def solve_weights(
    outputs: torch.Tensor, experts: torch.Tensor, shared: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Weights [S, E] (and those of the shared expert [S]) that give the layer's output as a sum of experts' outputs.

    Args:
        outputs: [S, H].
        experts: [S, E, H], what each expert gives for each token.
        shared: [S, H].

    Raises:
        Unmeasured: the output is no such sum.
    """
    columns = experts if shared is None else torch.cat([experts, shared[:, None]], dim=1)
    basis = columns.transpose(1, 2)
    solved = torch.linalg.lstsq(basis, outputs[..., None]).solution[..., 0]
    made = (basis @ solved[..., None])[..., 0]
    if misfit(made, outputs) > TOLERANCE:
        raise Unmeasured("the layer's output is no weighted sum of the outputs of experts and shared expert")
    return (solved, None) if shared is None else (solved[:, :-1], solved[:, -1])


COMPARISONS = frozenset({"gt", "ge", "lt", "le"})


def comparison_bounds(graph: Graph, moe: Moe) -> tuple[float, ...]:
    """Positive numbers that code compares values of the router with."""
    behind = reachable(graph, moe.router.y)
    nodes = (node for node in graph.nodes if node.op in COMPARISONS and behind.intersection(node.inputs))
    numbers = {float(one) for node in nodes for one in node.args[1:] if isinstance(one, int | float)}
    return tuple(sorted(one for one in numbers if one > 0))


def reachable(graph: Graph, value: int) -> set[int]:
    """Every value that depends on a value."""
    found, todo = {value}, [value]
    while todo:
        for node in graph.users(todo.pop()):
            fresh = [out for out in node.outputs if out not in found]
            found.update(fresh)
            todo.extend(fresh)
    return found
