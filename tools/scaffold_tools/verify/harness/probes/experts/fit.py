"""What one mixture-of-experts layer computes: the curve of its experts, its router's formula, its shared expert."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from probes.experts.find import Moe, comparison_bounds, reachable, solve_weights
from probes.experts.router import Routing, fit_routing
from probes.formula import Formula, formulas
from probes.graph.trace import Graph
from probes.graph.values import TOLERANCE, Unmeasured, clean, misfit, ratio
from probes.mlp import MlpFit, arrangements, fit_mlp, formula_facts


@dataclass(frozen=True)
class ExpertFit:
    """The formula of one expert."""

    gated: bool
    formula: Formula
    packing: str | None
    gate: int
    """Which of the first matrices is the gate."""
    width: int


@dataclass(frozen=True)
class MoeFit:
    """All that is measured of one layer."""

    expert: ExpertFit
    routings: list[Routing]
    """Formulas that fit the router, simplest first."""
    router_fp32: bool
    shared: MlpFit | None
    shared_gate: bool
    on_input: bool
    """The weight multiplies the expert's input, not its output."""
    logit_cap: float | None = None
    """c in c * tanh(logits / c) of the router."""


def fit_moe(graph: Graph, moe: Moe, tensors: dict[str, torch.Tensor]) -> MoeFit:
    """Measure one layer.

    Raises:
        Unmeasured: some part of it follows no known formula; the text says which.
    """
    expert = _fit_expert(graph, moe)
    tokens = graph.rows(moe.x)
    outputs = graph.rows(moe.output)
    shared_fit = fit_mlp(graph, moe.shared) if moe.shared else None
    shared = graph.rows(moe.shared.down.y) if moe.shared else None
    cap = _logit_cap(graph, moe)
    logits = graph.rows(moe.router.y)
    logits = logits if cap is None else cap * torch.tanh(logits / cap)
    biases = _bias_candidates(graph, moe)
    each = torch.stack([_apply(moe, expert, tensors, number, tokens) for number in range(moe.experts)], dim=1)
    on_input = False
    try:
        weights, share = solve_weights(outputs, each, shared)
        routings = fit_routing(logits, weights, biases, comparison_bounds(graph, moe))
    except Unmeasured:
        routing, share = _fit_on_input(moe, expert, tensors, (tokens, logits, outputs, shared), biases)
        routings, on_input = [routing], True
    if shared_fit is not None and (shared_fit.formula, shared_fit.gated) != (expert.formula, expert.gated):
        raise Unmeasured(f"the shared expert computes something else ({shared_fit.formula}) than the others")
    gated = _shared_gate(graph, moe, share)
    fp32 = graph.tensors[graph.nodes[moe.router.node].outputs[0]].dtype == torch.float32
    return MoeFit(expert, routings, fp32, shared_fit, gated, on_input, cap)


def _logit_cap(graph: Graph, moe: Moe) -> float | None:
    """c in c * tanh(logits / c), where router logits are bounded so."""
    logits, behind = graph.rows(moe.router.y), reachable(graph, moe.router.y)
    for node in graph.nodes:
        if node.op == "tanh" and node.inputs[0] in behind and graph.tensors[node.inputs[0]].numel() == logits.numel():
            cap = ratio(logits, graph.tensors[node.inputs[0]].double().reshape(logits.shape))
            if cap is not None:
                return clean(cap)
    return None


def _fit_expert(graph: Graph, moe: Moe) -> ExpertFit:
    """Match the input of the last matrix, for the expert with most tokens, up to one factor a token."""
    down = max(moe.down.uses, key=lambda use: graph.tensors[use.x].numel())
    mates = [next((use for use in bank.uses if use.expert == down.expert), None) for bank in moe.inputs]
    if None in mates:
        raise Unmeasured("an expert's last matrix is used without its first")
    width = graph.tensors[down.x].shape[-1]
    target = graph.tensors[down.x].reshape(-1, width).double()
    first = [graph.tensors[use.y].double().flatten(0, -2) for use in mates if use is not None]
    start = mates[0]
    assert start is not None
    for gate, packing, halves in arrangements(first, width):
        for formula in formulas(graph, start.y, start.node, down.x, halves):
            if _matches(formula.apply(halves), target):
                return ExpertFit(len(halves) == 2, formula, packing, gate, width)
    raise Unmeasured(f"an expert with an activation that no known curve fits ({moe.down.where.rsplit('/', 1)[-1]})")


def _matches(made: torch.Tensor, target: torch.Tensor) -> bool:
    """Equal, or equal up to a positive factor a row (a routing weight that is applied early)."""
    if misfit(made, target) < TOLERANCE:
        return True
    size = made.square().sum(-1, keepdim=True)
    if float(size.min()) == 0.0:
        return False
    factor = (made * target).sum(-1, keepdim=True) / size
    return float(factor.min()) > 0 and misfit(made * factor, target) < TOLERANCE


def _apply(
    moe: Moe, fit: ExpertFit, tensors: dict[str, torch.Tensor], number: int, tokens: torch.Tensor
) -> torch.Tensor:
    """What one expert gives for tokens [S, H]."""
    first = [tokens @ bank.matrix(tensors, number).T + bank.offset(tensors, number) for bank in moe.inputs]
    found = next(
        halves
        for gate, packing, halves in arrangements(first, fit.width)
        if (gate, packing) == (fit.gate, fit.packing)
    )
    inner = fit.formula.apply(found)
    return inner @ moe.down.matrix(tensors, number).T + moe.down.offset(tensors, number)


def _bias_candidates(graph: Graph, moe: Moe) -> dict[str, torch.Tensor]:
    """Vectors of one number an expert that act on the layer's output beside the router's own bias."""
    found = {}
    for value, name in graph.params.items():
        if graph.tensors[value].numel() != moe.experts or name == moe.router.bias:
            continue
        behind = reachable(graph, value)
        if any(use.x in behind for use in moe.down.uses) and moe.router.x not in behind:
            found[name] = graph.tensors[value].double().flatten()
    return found


def _fit_on_input(
    moe: Moe,
    fit: ExpertFit,
    tensors: dict[str, torch.Tensor],
    values: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None],
    biases: dict[str, torch.Tensor],
) -> tuple[Routing, torch.Tensor | None]:
    """One expert a token, whose input is multiplied by its score."""
    tokens, logits, outputs, shared = values
    del biases
    for name, score in (("sigmoid", torch.sigmoid), ("softmax", lambda x: torch.softmax(x, -1))):
        value, index = logits.topk(1, dim=-1)
        factor = score(value) if name == "sigmoid" else score(logits).gather(-1, index)
        each = torch.stack([_apply(moe, fit, tensors, number, tokens * factor) for number in range(moe.experts)], 1)
        picked = each.gather(1, index[..., None].expand(-1, -1, each.shape[-1]))
        try:
            weights, share = solve_weights(outputs, picked, shared)
        except Unmeasured:
            continue
        if misfit(weights, torch.ones_like(weights)) < TOLERANCE:
            return Routing(name, 1, False, 1.0, 1, 1, None, None), share
    raise Unmeasured("no known router formula gives the layer's output as a sum of its experts' outputs")


def _shared_gate(graph: Graph, moe: Moe, share: torch.Tensor | None) -> bool:
    """Whether the shared expert has a sigmoid gate; else it must count once."""
    if share is None or moe.shared is None:
        return False
    if moe.shared.gate is None:
        if misfit(share, torch.ones_like(share)) > TOLERANCE:
            raise Unmeasured(f"the shared expert is multiplied by {float(share[0]):.4g}")
        return False
    gate = torch.sigmoid(graph.rows(moe.shared.gate.y).flatten())
    if misfit(share, gate) > TOLERANCE:
        raise Unmeasured("the shared expert's gate is no sigmoid of one linear")
    return True


def facts_of(fit: MoeFit, moe: Moe, where: str | None) -> dict[str, tuple[Any, str | None]]:
    """The layer's facts, by name."""
    return {
        "moe.num_experts": (moe.experts, where),
        "moe.routing": (fit.routings, where),
        "moe.ffn_hidden_size": (fit.expert.width, moe.down.where),
        "moe.router_fp32": (fit.router_fp32, moe.router.where),
        "moe.router_bias": (moe.router.bias is not None, moe.router.where),
        "moe.shared_width": (fit.shared.width if fit.shared else 0, where),
        "moe.shared_gate": (fit.shared_gate, where),
        "moe.expert_bias": (bool(moe.down.bias), moe.down.where),
        "moe.clamp": (fit.expert.formula.clamp, moe.down.where),
        "moe.up_offset": (fit.expert.formula.offset, moe.down.where),
        "moe.weights_on_input": (fit.on_input, where),
        "moe.logit_softcap": (fit.logit_cap, moe.router.where),
        **formula_facts(fit.expert.formula, moe.down.where),
        "mlp.gated": (fit.expert.gated, moe.down.where),
    }
