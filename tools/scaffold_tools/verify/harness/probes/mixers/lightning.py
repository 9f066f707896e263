"""Lightning attention: linear attention whose decay is one constant a head, over blocks of positions with saved tables
of decays, then a norm over all heads and a gate; proved by computing its output again.

The mark is a product of scores with a table that no token acts on and that is zero above its diagonal
(Qin et al. 2024, arXiv 2401.04658, algorithm 1; MiniMax 2025, arXiv 2501.08313, section 2.2).
"""

from __future__ import annotations

from typing import Any

import torch

from probes.graph.structure import Linear, Norm, first_linear_after, sources
from probes.graph.trace import Graph, Node
from probes.graph.values import Unmeasured, misfit
from probes.mixers.lru import ACTIVATIONS
from probes.mixers.own import CLOSE, Mark, Mixer, epsilons, parameters, region
from probes.notebook import Notebook

KIND = "lightning"
WHAT = "linear attention with constant decays"
TABLES = ("slope", "query_decay", "key_decay", "diagonal")
SLOPES = f"{KIND}.slopes"


def find(graph: Graph, norms: list[Norm], by_output: dict[int, Linear]) -> list[Mark]:
    """The first masked product of each output projection: every block of positions has one."""
    found: dict[str, Mark] = {}
    for node in graph.nodes:
        if node.op != "mul" or not _decays(graph, node):
            continue
        out = first_linear_after(graph, node.outputs[0], by_output)
        found.setdefault(out.weight, Mark(node, lambda node=node, out=out: _read(graph, node, out, norms, by_output)))
    return list(found.values())


def _decays(graph: Graph, node: Node) -> bool:
    """Whether products of tokens with tokens are multiplied by a table that falls with their distance."""
    data = graph.data_inputs(node)
    others = [value for value in node.inputs if value not in data]
    if len(data) != 1 or len(others) != 1 or graph.op(graph.resolve(data[0])) not in ("bmm", "matmul"):
        return False
    table = graph.tensors[others[0]]
    if table.dim() < 3 or table.shape[-1] != table.shape[-2] or table.shape[-1] < 2 or table.numel() < 5:
        return False
    heads = table.double().reshape(-1, *table.shape[-2:])
    falls = bool((heads[:, 1:, 0] < heads[:, :-1, 0]).all())
    return falls and torch.equal(heads, heads.tril()) and bool((heads.diagonal(dim1=1, dim2=2) == 1).all())


def _read(graph: Graph, node: Node, out: Linear, norms: list[Norm], by_output: dict[int, Linear]) -> Mixer:
    behind, _ = sources(graph, node.outputs[0], by_output)
    both, _ = sources(graph, out.x, by_output)
    gates = [one for one in both if one not in behind]
    if len(behind) != 1 or len(gates) != 1:
        raise Unmeasured(f"{WHAT} with {len(behind)} input projections and {len(gates)} gates, not one of each")
    inp, gate = behind[0], gates[0]
    if inp.bias or gate.bias or out.bias:
        raise Unmeasured(f"{WHAT} with biases in its projections")
    values, nodes = region(graph, out.x, {inp.y, gate.y})
    rest = parameters(graph, values, {inp.weight, gate.weight, out.weight})
    norm = [one for one in norms if one.x in values and one.weight in rest and one.bias is None]
    if len(norm) != 1 or norm[0].weight is None or inp.outputs != 3 * out.inputs or gate.outputs != out.inputs:
        raise Unmeasured(f"{WHAT} with {len(norm)} norms over its {out.inputs} channels, and {inp.outputs} rows")
    names, slopes, block = _tables({name: graph.tensors[one] for name, one in rest.items() if name != norm[0].weight})
    projected = graph.rows(inp.y).reshape(graph.length, slopes.shape[0], 3, -1)
    weight = graph.tensors[rest[norm[0].weight]].double()
    gated = weight * torch.sigmoid(graph.rows(gate.y))
    for name, curve in ACTIVATIONS:
        y = linear_attention(*curve(projected).unbind(2), slopes)
        for eps in [norm[0].eps] if norm[0].eps is not None else epsilons(graph, nodes):
            normed = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + eps)
            if misfit(normed * gated, graph.rows(out.x)) < CLOSE:
                facts = (
                    *(("width", out.inputs), ("heads", slopes.shape[0]), ("block", block)),
                    *(("activation", name), ("norm_eps", eps), ("slopes", slopes)),
                )
                tensors = [(f"{KIND}.{role}", one, "other") for role, one in zip(TABLES, names, strict=True)]
                tensors.append((f"{KIND}.norm", norm[0].weight, "weight"))
                entries = ((f"{KIND}.in", inp), (f"{KIND}.gate", gate))
                return Mixer(KIND, entries, (), out, tuple(tensors), facts, node.where)
    raise Unmeasured(f"{WHAT} whose output could not be computed again")


def _tables(found: dict[str, torch.Tensor]) -> tuple[tuple[str, ...], torch.Tensor, int]:
    """(names in the order of `TABLES`, slopes [heads], positions of a block).

    Raises:
        Unmeasured: these are not the four tables of one slope a head.
    """
    square = next((one for one in found.values() if one.dim() == 4), None)
    slope = next((one for one in found.values() if one.dim() == 3 and one.shape[1:] == (1, 1)), None)
    if square is None or slope is None or len(found) != len(TABLES):
        raise Unmeasured(f"{WHAT} with the parameters {', '.join(sorted(found))}")
    slopes = slope.double().flatten()
    block = square.shape[-1]
    names: list[str] = []
    for expected in tables(slopes, block):  # where decays are next to one, several are close: the closest it is
        errors = {
            name: misfit(one.double(), expected)
            for name, one in found.items()
            if one.shape == expected.shape and name not in names
        }
        name = min(errors, key=errors.__getitem__, default="")
        if errors.get(name, 1.0) > CLOSE:
            raise Unmeasured(f"{WHAT} with tables that are not those of one decay a head")
        names.append(name)
    return tuple(names), slopes, block


def tables(slopes: torch.Tensor, block: int) -> tuple[torch.Tensor, ...]:
    """Decays of blocks of positions, in the order of `TABLES`.

    Args:
        slopes: [heads].
        block: positions of a block.
    """
    slope = slopes[:, None, None]
    position = torch.arange(1, block + 1, dtype=torch.float64)[:, None]
    distance = position - position.t()
    diagonal = torch.exp(-slope * distance).where(distance >= 0, 0.0)
    return slope, torch.exp(-slope * position), torch.exp(-slope * (block - position)), diagonal[None]


def linear_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
    """The recurrence, one step a token: the state decays by exp(-slope), then takes k v^T, then q reads it.

    Args:
        q, k, v: [S, heads, dim].
        slopes: [heads].

    Returns:
        [S, heads * dim].
    """
    state = torch.zeros(q.shape[1], q.shape[2], v.shape[2], dtype=torch.float64)
    outputs = []
    for token in range(q.shape[0]):
        state = state * torch.exp(-slopes)[:, None, None] + k[token, :, :, None] * v[token, :, None, :]
        outputs.append(torch.einsum("hd,hde->he", q[token], state).flatten())
    return torch.stack(outputs)


def slopes_of(heads: int, layer: int, layers: int) -> torch.Tensor:
    """[heads]: the slopes of ALiBi, shorter the deeper the layer is (arXiv 2401.04658, section 3; counted from 0)."""
    steps = torch.arange(1, heads + 1, dtype=torch.float64)
    return 2.0 ** (-8.0 * steps / heads) * (1 - layer / (layers - 1 + 1e-5) + 1e-5)


def settle_slopes(book: Notebook, columns: dict[str, list[Any]], flags: list[bool]) -> None:
    """Whether the slopes are those that a fresh model has; `flags` says which layers have such a mixer."""
    found = columns.pop(SLOPES, [])
    numbers = [layer for layer, has in enumerate(flags) if has]
    for layer, slopes in zip(numbers, found, strict=True):
        if misfit(slopes, slopes_of(slopes.shape[0], layer, len(flags))) > CLOSE:
            book.fail(SLOPES, f"the slopes of layer {layer} follow from its depth in an unknown way")
