"""The blueprint: everything learnt about a model as one immutable value. Targets read it and nothing else.

A fact has a value for *this* model and, where it is known, an *expression*: how it follows from the Hugging Face
config object. Generated code emits the expression (`hf_config.query_pre_attn_scalar**-0.5`), so it stays right
for other sizes of the same family, and for the toy whose every scalar is nobody's default.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from scaffold_tools.classify.evidence import Evidence

Certainty = Literal["measured", "constrained", "declared", "assumed"]
"""measured: a probe ran the code. constrained: tensor names or shapes force it. declared: a config key says so.
assumed: the field's common default, nothing contradicts it."""


@dataclass(frozen=True)
class Const:
    """A value that does not follow from any config key."""

    value: Any
    op: Literal["const"] = "const"


@dataclass(frozen=True)
class Term:
    """`config.<key> ** power`; `key` is a dotted path (`rope_parameters.rope_theta`, dicts and attributes alike).

    A number in it is a place in a list (`multipliers.0`).
    """

    key: str
    power: float = 1.0


@dataclass(frozen=True)
class Product:
    """`constant * prod(term)`. One term, power 1, constant 1 is the plain key, of whatever type it is."""

    terms: tuple[Term, ...]
    constant: float = 1.0
    op: Literal["product"] = "product"


@dataclass(frozen=True)
class PerLayer:
    """One value a layer, chosen by a per-layer key: `[cases[label] for label in config.layer_types]`."""

    key: str
    cases: tuple[tuple[str, Const | Product], ...]
    op: Literal["per_layer"] = "per_layer"


@dataclass(frozen=True)
class LayerRule:
    """One flag a layer, from its number and the values of config keys; `rule` is a row of `layer_rules.py`."""

    rule: str
    keys: tuple[str, ...]
    """Config keys; a number in digits is itself, where code writes it out."""
    layers: str
    """The key of the number of layers."""
    op: Literal["layer_rule"] = "layer_rule"


@dataclass(frozen=True)
class Chosen:
    """One value a layer: `yes` where the rule holds, `no` elsewhere."""

    rule: LayerRule
    yes: Const | Product
    no: Const | Product
    op: Literal["chosen"] = "chosen"


@dataclass(frozen=True)
class Rounded:
    """`multiple * ceil(int(factor * int(share * width)) / multiple)`: how code after Llama 1 sizes its MLP."""

    width: str
    factor: str | None
    multiple: str
    share: float
    op: Literal["rounded"] = "rounded"


Expression = Const | Product | PerLayer | LayerRule | Chosen | Rounded


@dataclass(frozen=True)
class Fact:
    """A named property of the model; names and meanings are the rows of `vocabulary.py`."""

    name: str
    value: Any
    certainty: Certainty
    evidence: tuple[Evidence, ...]
    expression: Expression | None = None


@dataclass(frozen=True)
class TensorRole:
    """What the tensors matching one on-disk name pattern are."""

    role: str
    """A row of `vocabulary.ROLES`: `attn.q`, `mlp.gate`, `norm.pre_attn`, ..."""
    pattern: str
    """On-disk name with each layer (or expert) index replaced by `*`."""
    param: Literal["weight", "bias", "other"]
    shape: tuple[int, ...]
    """Shape in the real checkpoint (of the first match)."""
    layers: tuple[int, ...] | None = None
    """The layers that have it; None for tensors outside the layer stack."""
    packing: str | None = None
    """How a fused tensor is laid out (`concat:q,k,v`, `grouped:q,k,v`, `per_head:q,k,v`, `concat:gate,up`, ...)."""
    evidence: tuple[Evidence, ...] = ()
    transposed: bool = False
    """A weight that is stored [in, out]."""


@dataclass(frozen=True)
class LayerKind:
    """A set of layers with the same roles and the same per-layer facts."""

    name: str
    layers: tuple[int, ...]
    roles: tuple[str, ...]


@dataclass(frozen=True)
class KeyUse:
    """One config key: whether the Hugging Face code reads it, and which fact consumed it."""

    key: str
    value: Any
    read_by_code: bool | None
    """None when no probe ran."""
    consumed_by: str | None
    """A fact name, or `waived: <reason>` for keys that cannot change logits (training, cache, tokens)."""


@dataclass(frozen=True)
class StoredGroup:
    """Weights that are stored in one quantised form, told by the ends of the names of their tensors."""

    format: str
    """fp8-block, nvfp4, gptq, ...: a format of the classification."""
    bits: int | None
    block: tuple[int, ...] | None
    """Rows and columns that share a scale, as in the classification."""
    values: str
    """The part that holds the values: `weight`, `blocks`, `qweight`, ..."""
    values_end: str
    """What the name of that tensor ends in: `.weight`, `_blocks`; empty where the name of the weight is its own."""
    weight_end: str
    """What stands there in the name of the weight: `.weight`, or nothing."""
    parts: tuple[tuple[str, str], ...]
    """The other tensors of a weight: (part, end of the name), scales first."""
    weights: tuple[str, ...]
    """Name patterns of the weights, as an unquantised checkpoint has them; each index is `*`."""
    tensors: int
    """How many weights of the checkpoint are stored so; 0 where no header was read."""


@dataclass(frozen=True)
class Stored:
    """How a quantised checkpoint stores its weights. Everything else of a blueprint is told as if it did not."""

    groups: tuple[StoredGroup, ...]
    not_weights: tuple[str, ...] = ()
    """Ends of the names of scales of activations and of the KV cache, which no weight needs."""
    left_alone: tuple[str, ...] = ()
    """Modules that are declared unquantised."""
    unmatched: tuple[str, ...] = ()
    """Tensors that have no place: scales without values, values without scales."""
    settings: tuple[tuple[str, str], ...] = ()
    """What the config declares and code depends on, (key, value): `checkpoint_format` of GPTQ."""
    certainty: Certainty = "declared"
    """constrained: headers were read."""
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True)
class Gap:
    """Something the blueprint or the target cannot express; says what to write, where, and how to tell it is right."""

    subject: str
    """The tensor, key or fact."""
    reason: str
    hf_source: str | None = None
    """`file.py:line` in the modeling code that shows it."""
    write_what: str | None = None
    check: str | None = None
    """The command or test that passes once it is right."""


@dataclass(frozen=True)
class Switch:
    """A flag that other sizes of the family have the other way round: which tensors and facts are different then."""

    key: str
    """Of the config."""
    value: bool
    """What it is not in this model."""
    facts: tuple[Fact, ...]
    """Facts with another value, and new ones."""
    absent: tuple[str, ...]
    """Facts that there are not."""
    roles: tuple[TensorRole, ...]
    """Tensors that come; empty where tensors go."""


@dataclass(frozen=True)
class Blueprint:
    """One model, target-free."""

    model_name: str
    architecture: str
    """The Hugging Face class that generated code registers for, a checked identifier."""
    model_type: str
    in_transformers: bool
    """Whether the installed transformers exports `architecture` (else generated code registers it by name)."""
    facts: tuple[Fact, ...]
    roles: tuple[TensorRole, ...]
    layer_kinds: tuple[LayerKind, ...]
    keys: tuple[KeyUse, ...]
    gaps: tuple[Gap, ...] = ()
    notes: tuple[str, ...] = ()
    config_part: str | None = None
    """The key of the nested config that the class runs on (`text_config`); every expression is over that part."""
    stored: Stored | None = None
    """How the weights are stored; None where they are stored as what they are."""
    switches: tuple[Switch, ...] = ()
    """Flags between structures that were measured both ways."""

    def switched(self, switch: Switch) -> Blueprint:
        """A model like this one whose flag is the other way round; tensors that go are still in it."""
        other = {fact.name: fact for fact in switch.facts}
        facts = [other.pop(fact.name, fact) for fact in self.facts if fact.name not in switch.absent]
        keys = tuple(replace(use, value=switch.value) if use.key == switch.key else use for use in self.keys)
        return replace(self, facts=(*facts, *other.values()), roles=(*self.roles, *switch.roles), keys=keys)

    def fact(self, name: str) -> Fact | None:
        """The fact of that name, or None."""
        return next((fact for fact in self.facts if fact.name == name), None)

    def value(self, name: str, default: Any = None) -> Any:
        """The value of a fact, or `default` where the blueprint does not have it."""
        fact = self.fact(name)
        return default if fact is None else fact.value

    def role(self, role: str, param: str = "weight") -> TensorRole | None:
        """The first tensor pattern with that role, or None."""
        return next((row for row in self.roles if row.role == role and row.param == param), None)
