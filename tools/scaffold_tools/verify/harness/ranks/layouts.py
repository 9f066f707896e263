"""How a model is split over processes, which splits it can take, and which of them are tried. No torch in here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Layout:
    """Sizes of the process groups; all of them 1 is one process."""

    tp: int = 1
    """Tensor parallel."""
    pp: int = 1
    """Pipeline parallel."""
    ep: int = 1
    """Expert parallel: over processes that also split the batch."""
    cp: int = 1
    """Context parallel."""
    vpp: int = 1
    """Chunks of layers a stage has (virtual pipeline)."""
    sp: bool = False
    """Sequence parallel: what tensor parallel leaves whole is split along the sequence."""
    etp: int = 0
    """Tensor parallel inside experts; 0: as outside, or 1 where experts are shared out."""

    @property
    def processes(self) -> int:
        """How many processes it takes. Expert ranks are taken from tensor and data ranks, not added to them."""
        return self.pp * self.cp * self.tp * self.data

    @property
    def data(self) -> int:
        """Data parallel ranks that expert parallelism asks for."""
        return max(1, self.ep // (self.tp * self.cp))

    @property
    def tp_of_experts(self) -> int:
        """How many ranks one expert is split over."""
        return self.etp or (1 if self.ep > 1 else self.tp)

    @property
    def name(self) -> str:
        """`tp2 sp pp2`; `one process` where nothing is split."""
        sizes = [f"{name}{size}" for name, size in vars(self).items() if name not in ("sp", "etp") and size > 1]
        return " ".join([*sizes, *(["sp"] if self.sp else [])]) or "one process"


@dataclass(frozen=True)
class Numbers:
    """What of a model has to be divided."""

    heads: int
    groups: int
    """Key-value heads."""
    experts: int
    layers: int
    expert_biases: bool = False
    """megatron-core keeps experts that have biases whole."""
    state_groups: int = 0
    """Groups of a Mamba mixer, where the model says how many; every config of megatron-core has a default."""

    @classmethod
    def of(cls, provider: Any) -> Numbers:
        """As a provider of Megatron-Bridge has them."""
        heads = provider.num_attention_heads or 1
        experts = getattr(provider, "num_moe_experts", None) or 0
        groups, biases = provider.num_query_groups or heads, bool(experts and provider.add_bias_linear)
        return cls(heads, groups, experts, provider.num_layers, biases, _state_groups(provider))


def _state_groups(provider: Any) -> int:
    field = getattr(type(provider), "__dataclass_fields__", {}).get("mamba_num_groups")
    found = getattr(provider, "mamba_num_groups", None) or 0
    return 0 if field is None or found == field.default else int(found)


@dataclass(frozen=True)
class Rule:
    """Why a model cannot be split so."""

    hinders: Callable[[Layout, Numbers], bool]
    words: str
    """With the fields of `Numbers` and `Layout`."""


RULES: tuple[Rule, ...] = (
    Rule(lambda split, has: has.heads % split.tp != 0, "{heads} heads over {tp} tensor ranks"),
    Rule(
        lambda split, has: has.state_groups % split.tp != 0,
        "{state_groups} groups of a state space over {tp} tensor ranks",
    ),
    Rule(
        lambda split, has: has.groups % split.tp != 0 and split.tp % has.groups != 0,
        "{groups} key-value heads over {tp} tensor ranks",
    ),
    Rule(
        lambda split, has: split.tp > 1 and not split.sp and has.experts > 0,
        "{experts} experts with tensor but not sequence parallel, which Megatron refuses to train",
    ),
    Rule(lambda split, has: split.ep > 1 and has.experts == 0, "no experts to share out"),
    Rule(lambda split, has: has.experts % split.ep != 0, "{experts} experts over {ep} expert ranks"),
    Rule(lambda split, has: has.layers < split.pp * split.vpp, "{layers} layers for {pp} stages of {vpp} chunks"),
)
"""What no code can do anything about. Layers need not divide: stages may be of different length, and the toy has as
many as divide."""


def hindrance(layout: Layout, numbers: Numbers) -> str:
    """Why a model with these numbers cannot be split so; "" where it can."""
    found = (rule for rule in RULES if rule.hinders(layout, numbers))
    return "; ".join(rule.words.format(**vars(layout), **vars(numbers)) for rule in found)


@dataclass(frozen=True)
class Choice:
    """A split that is tried unasked."""

    layout: Layout
    few: bool
    """Also where only a few are tried."""
    why: str


CHOICES: tuple[Choice, ...] = (
    Choice(Layout(tp=2), False, "every sharded axis; each rank has every token"),
    Choice(Layout(tp=2, sp=True), True, "also what is split along the sequence, and sums of gradients over ranks"),
    Choice(Layout(pp=2), False, "stages, and what only the first and the last one have"),
    Choice(Layout(pp=2, vpp=2), True, "several chunks a stage: numbers of layers, and tied embeddings on two stages"),
    Choice(Layout(ep=2), False, "experts on ranks that have other rows of the batch"),
    Choice(Layout(tp=2, ep=2, sp=True), False, "experts on ranks that split everything else by tensors"),
    Choice(Layout(tp=2, pp=2, sp=True), False, "both, on four processes"),
    Choice(Layout(cp=2), False, "the sequence itself; needs an attention kernel that can"),
)
FEW_EXPERTS = Layout(ep=2)
"""Takes no part in `few` for models without experts."""


def fitted(layout: Layout, numbers: Numbers) -> Layout:
    """The layout with experts left whole where they have to be."""
    return replace(layout, etp=1) if numbers.expert_biases and not layout.etp else layout


def chosen(numbers: Numbers, few: bool) -> list[Layout]:
    """The splits to try: those of the table that a model with these numbers can take."""
    rows = [row for row in CHOICES if not few or row.few or (row.layout == FEW_EXPERTS and numbers.experts)]
    return [row.layout for row in rows if not hindrance(row.layout, numbers)]


LAYERS_MULTIPLE = 4
"""Layers of the toy: two stages of two chunks, all of the same length."""
