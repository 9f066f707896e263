"""What the walk through a recorded pass finds of a decoder: its layers, and the values between them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from probes.experts.find import Moe
from probes.graph.structure import Linear, Norm, Site
from probes.graph.trace import PARTS, VIEWS, Graph, Node
from probes.head import Transform
from probes.mixers.beside import Beside
from probes.mixers.delta import Delta
from probes.mixers.indexer import Choice
from probes.mixers.mamba import Scan
from probes.mixers.mla import Latent
from probes.mixers.own import Mixer


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


def unused_operators(graph: Graph, start: int, stop: int) -> list[Node]:
    """Operators on the way from `start` to `stop` that are no layout changes."""
    path = [value for value in graph.ancestors(stop, {start}) if graph.depends[value]]
    nodes = {graph.producer[value] for value in path if value != start and graph.producer[value] is not None}
    return [graph.nodes[index] for index in sorted(nodes) if graph.nodes[index].op not in VIEWS | PARTS]


def short(where: str | None) -> str:
    return where.rsplit("/", 1)[-1] if where else "?"
