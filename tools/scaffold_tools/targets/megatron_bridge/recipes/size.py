"""How big a model is, counted from the shapes of its tensors."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from scaffold_tools.blueprint.facts import Blueprint, TensorRole

_SAVED_TABLES = ("buffer", "lightning.slope", "lightning.query_decay", "lightning.key_decay", "lightning.diagonal")
"""Roles of tensors that are computed, not learnt."""

_OUT_OF_SUBLAYER = re.compile(r"(^attn\.o|\.down|\.out)$")
"""Projections back to the residual stream: what they read is kept for the backward pass, what they give is added."""

_RANK = 32
"""Rank of the adapters that `_peft_common` sets up."""


@dataclass(frozen=True)
class ModelSize:
    """Numbers of parameters, and what one token leaves behind in a forward pass."""

    embedding: int
    """Token embedding, position embedding, head (once where tied) and what is outside the layers."""
    dense: int
    """Parameters of layers outside routed experts."""
    experts: int
    """Parameters of all routed experts."""
    active_experts: int
    """Those of them that one token goes through."""
    activations: int
    """Numbers that one token leaves for the backward pass in all layers together."""
    adapters: int
    """Parameters of LoRA adapters of rank 32 on every projection; the routed experts of a layer share theirs."""
    num_layers: int
    hidden_size: int
    vocab_size: int
    head: int
    """The larger of embedding and head: what the fullest end of a pipeline holds."""

    @property
    def total(self) -> int:
        """All parameters."""
        return self.embedding + self.dense + self.experts

    @property
    def active(self) -> int:
        """Parameters that one token goes through."""
        return self.embedding + self.dense + self.active_experts


def model_size(blueprint: Blueprint) -> ModelSize:
    """Count a blueprint's tensors.

    Activations, in numbers a token: for each layer 4*H (the inputs of two norms and of two sublayers), the outputs of
    every projection into a sublayer and the inputs of every projection out of it. With two bytes a number this is
    Korthikanti et al. 2022 (https://arxiv.org/abs/2205.05198), equation 2, without dropout masks and with scores that
    are recomputed: 32*s*b*H for a layer of multi-head attention and an MLP of 4*H.
    """
    top_k, num_experts = blueprint.value("moe.top_k") or 1, blueprint.value("moe.num_experts") or 1
    hidden, layers = int(blueprint.value("hidden_size") or 0), int(blueprint.value("num_layers") or 0)
    embedding = dense = experts = active = adapters = 0
    activations = 4 * hidden * layers
    ends = [0]
    for role in blueprint.roles:
        if role.role in _SAVED_TABLES:
            continue
        one, routed = math.prod(role.shape), role.role.startswith("moe.expert.")
        stacked = routed and role.pattern.count("*") < 2
        if role.layers is None:
            embedding += one
            ends += [one] if role.role in ("embed.tokens", "head") else []
            continue
        count = len(role.layers) * one * (num_experts if routed and not stacked else 1)
        kept, adapter = (number * len(role.layers) for number in _kept(role, stacked))
        adapters += adapter
        if routed:
            experts, active, kept = experts + count, active + count * top_k // num_experts, kept * top_k
        else:
            dense += count
        activations += kept
    vocab = int(blueprint.value("vocab_size") or 0)
    return ModelSize(embedding, dense, experts, active, activations, adapters, layers, hidden, vocab, max(ends))


def _kept(role: TensorRole, stacked: bool) -> tuple[int, int]:
    """(numbers kept for one token, parameters of an adapter) of one layer's projection; of one expert's."""
    shape = role.shape[1:] if stacked else role.shape
    if role.param != "weight" or len(shape) != 2 or role.role.startswith("norm."):
        return 0, 0
    rows, columns = (shape[1], shape[0]) if role.transposed else shape
    if role.role == "moe.router":
        return rows, 0
    return (columns if _OUT_OF_SUBLAYER.search(role.role) else rows), _RANK * (rows + columns)
