"""Places at which both models can be compared, in the order in which Megatron computes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from divergence.align import Index, Source, common_module
from divergence.record import Call, Recording

LAYER = re.compile(r"(?:^|\.)layers\.(\d+)(?=\.|$)")
Pick = Callable[[Recording], torch.Tensor | None]
"""Takes a value out of a recording of the Hugging Face model."""


@dataclass(frozen=True)
class Site:
    """One value that both models compute."""

    megatron: str
    """The Megatron module."""
    what: str
    """`input`, `normed`, `output`, `scores`, `value`, `context`, `routing`, `logits`."""
    hugging_face: str
    culprit: str
    """The module to blame where this is the first value that differs: everything before it agreed."""
    order: float
    pick: Pick
    value: torch.Tensor
    """What Megatron computed."""

    @property
    def layer(self) -> int | None:
        """Index of the decoder layer, None outside of layers."""
        found = LAYER.search(self.megatron)
        return int(found[1]) if found else None


def find_sites(megatron: Any, recording: Recording, hugging_face: Any) -> list[Site]:
    """All sites, in Megatron's order."""
    finder = _Finder(megatron, recording, Index(hugging_face))
    return sorted(finder.all(), key=lambda site: site.order)


class _Finder:
    def __init__(self, megatron: Any, recording: Recording, index: Index) -> None:
        self.modules = dict(megatron.named_modules())
        self.recording = recording
        self.index = index
        self.sources = {name: found for name, module in self.modules.items() if (found := self._source(module))}

    def _source(self, module: Any) -> Source | None:
        weights = [
            parameter
            for name, parameter in module.named_parameters(recurse=False)
            if name.startswith("weight") and parameter.dim() == 2
        ]
        found = [self.index.matrix(weight) for weight in weights]
        if not found or None in found:
            return None
        rows = tuple(row for source in found if source for row in source.rows)
        return Source(tuple(dict.fromkeys(name for name, _ in rows)), rows)

    def counterpart(self, prefix: str) -> str:
        """The Hugging Face module that holds what this Megatron module holds."""
        inside = [self.sources[name] for name in self.sources if name == prefix or name.startswith(f"{prefix}.")]
        return common_module(part for source in inside for part in source.parts)

    def all(self) -> Iterator[Site]:
        for name, call in self.recording.calls.items():
            module = self.modules[name]
            yield from self._norm(name, module, call)
            if name in self.sources:
                yield from self._linear(name, module, call, self.sources[name])
            if name.endswith("core_attention"):
                yield from self._attention(name, call)
            if "weights" in call.extra:
                yield from self._routing(name, call)
            if LAYER.search(name) and LAYER.split(name)[-1].count(".") <= 1:
                yield from self._block(name, call)

    def _linear(self, name: str, module: Any, call: Call, source: Source) -> Iterator[Site]:
        owners = [part.rpartition(".")[0] for part in source.parts]
        own = _own_name(owners)
        if call.entered is not None and _norm_weight(module)[0] is None:
            yield Site(
                name, "input", own, _parent(name), call.began, lambda seen: _entered(seen, owners[0]), call.entered
            )
        goes_on = "weights" in call.extra or self._has_parts(name)
        if call.left is not None and call.left.shape[-1] == len(source.rows) and not goes_on:
            yield Site(name, "output", own, name, call.ended, lambda seen: _gathered(seen, source), call.left)

    def _has_parts(self, name: str) -> bool:
        """Whether a linear holds a norm of its own, so that it puts out what that makes of the product."""
        inside = (part for other, part in self.modules.items() if other.startswith(f"{name}."))
        return any([*part.parameters(recurse=False)] for part in inside)

    def _norm(self, name: str, module: Any, call: Call) -> Iterator[Site]:
        weight, fused = _norm_weight(module)
        found = self.index.vector(weight) if weight is not None else None
        if found is None or call.entered is None:
            return
        owner = found.rpartition(".")[0]
        yield Site(name, "input", owner, _parent(name), call.began, lambda seen: _entered(seen, owner), call.entered)
        value = _normalised(module, call.entered) if fused else call.left
        if value is not None:
            order = call.began + 0.5 if fused else call.ended
            yield Site(name, "normed", owner, name, order, lambda seen: _left(seen, owner), value)

    def _attention(self, name: str, call: Call) -> Iterator[Site]:
        whole = _parent(name)
        other = self.counterpart(whole)
        for what, culprit in (("scores", whole), ("value", whole), ("context", name)):
            if what in call.extra:
                order = call.ended if what == "context" else call.began
                yield Site(name, what, other, culprit, order, _extra(other, what), call.extra[what])

    def _routing(self, name: str, call: Call) -> Iterator[Site]:
        other = self.counterpart(_parent(name))
        experts = call.extra["weights"].shape[-1]
        yield Site(name, "routing", other, name, call.ended, _routes(other, experts), call.extra["weights"])

    def _block(self, name: str, call: Call) -> Iterator[Site]:
        """A layer, or one of its parts: what goes in, what comes out."""
        other = self.counterpart(name)
        if self._is_layer(name):
            other = _layer_of(other)
        if not other or (name not in self.sources and other in self._layers_of_others(name)):
            return
        if self._is_layer(name) and call.entered is not None:
            first = name.endswith(".0")
            culprit = "embedding" if first else f"{_parent(name)}.{int(name.rpartition('.')[2]) - 1}"
            yield Site(name, "input", other, culprit, call.began, lambda seen: _entered(seen, other), call.entered)
        within = (source for source in self.sources if source.startswith(f"{name}."))
        normed = not self._is_layer(name) and any(self._has_parts(source) for source in within)
        if call.left is not None and name not in self.sources and not normed:
            yield Site(name, "output", other, name, call.ended, lambda seen: _left(seen, other), call.left)

    def _is_layer(self, name: str) -> bool:
        return name.rpartition(".")[2].isdigit()

    def _layers_of_others(self, name: str) -> set[str]:
        """Modules that hold more than this part: a part must not be compared with the layer around it."""
        parent = _parent(name)
        return set() if parent.endswith("layers") else {self.counterpart(parent)}


def _norm_weight(module: Any) -> tuple[torch.Tensor | None, bool]:
    """The weight of a norm, and whether a linear is fused to it."""
    fused = getattr(module, "layer_norm_weight", None)
    if isinstance(fused, torch.Tensor):
        return fused, True
    own = [tensor for tensor in module.parameters(recurse=False) if tensor.dim() > 1]
    weight = getattr(module, "weight", None)
    return (weight, False) if isinstance(weight, torch.Tensor) and weight.dim() == 1 and not own else (None, False)


def _normalised(module: Any, entered: torch.Tensor) -> torch.Tensor | None:
    """What the norm of a fused module makes of its input; only the stand-in lets one ask."""
    try:
        from transformer_engine.pytorch.module.norm import normalise
    except ImportError:
        return None
    bias = module.layer_norm_bias
    with torch.no_grad():
        return normalise(
            entered.float(),
            module.layer_norm_weight,
            bias,
            module.eps,
            module.normalization,
            module.zero_centered_gamma,
        ).double()


def _entered(seen: Recording, name: str) -> torch.Tensor | None:
    call = seen.call(name)
    return None if call is None else call.entered


def _left(seen: Recording, name: str) -> torch.Tensor | None:
    call = seen.call(name)
    return None if call is None else call.left


def _gathered(seen: Recording, source: Source) -> torch.Tensor | None:
    """Output channels of the linears that a Megatron linear was made of, in its order."""
    outputs = {part: _left(seen, part.rpartition(".")[0]) for part in source.parts}
    columns = []
    for part, row in source.rows:
        output = outputs[part]
        if output is None or output.shape[-1] <= row:
            return None
        columns.append(output[..., row])
    return torch.stack(columns, -1)


def _extra(name: str, what: str) -> Pick:
    def pick(seen: Recording) -> torch.Tensor | None:
        call = seen.call(name)
        return None if call is None else call.extra.get(what)

    return pick


def _routes(block: str, experts: int) -> Pick:
    """The weight of each expert for each token, dense, from what the experts of this block were given."""

    def pick(seen: Recording) -> torch.Tensor | None:
        for name, call in seen.calls.items():
            if "indices" in call.extra and (name == block or name.startswith(f"{block}.")):
                chosen, weights = call.extra["indices"], call.extra["weights"]
                if weights.shape[-1] == experts != chosen.shape[-1]:
                    return weights
                if weights.shape == chosen.shape:
                    return torch.zeros(*chosen.shape[:2], experts, dtype=torch.float64).scatter_(-1, chosen, weights)
        return None

    return pick


def _own_name(owners: list[str]) -> str:
    """`model.layers.0.self_attn.{q_proj,k_proj}`, or the one name."""
    if len(owners) == 1:
        return owners[0]
    parent = common_module(f"{owner}.weight" for owner in owners)
    return f"{parent}.{{{','.join(owner.removeprefix(parent + '.') for owner in owners[:6])}}}"


def _layer_of(name: str) -> str:
    """The layer that a module lies in: an alien layer may have kept nothing but its attention."""
    parts = name.split(".")
    ends = [number for number, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[: ends[0] + 1]) if ends else ""


def _parent(name: str) -> str:
    return name.rpartition(".")[0]
