"""What is likely wrong at the first divergence: rows of a table, each with a test on the captured values.

A row speaks only where its test holds, and says what it measured. None of them decides: parity does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from divergence.compare import Difference
from divergence.record import Recording

FITS = 1e-3
"""Relative misfit below which an explanation holds: far above rounding, far below any mistake."""


@dataclass(frozen=True)
class Scene:
    """What a row may look at."""

    difference: Difference
    seen: Recording
    """What the Hugging Face model computed."""
    own_weights: frozenset[str]
    """Modules of the Hugging Face model with parameters of their own."""
    module: Any
    """The Megatron module of the site."""

    @property
    def right(self) -> torch.Tensor:
        return self.difference.reference

    @property
    def wrong(self) -> torch.Tensor:
        return self.difference.site.value


@dataclass(frozen=True)
class Cause:
    """One explanation."""

    name: str
    at: tuple[str, ...]
    """Kinds of sites that it can explain; none: all."""
    test: Callable[[Scene], str | None]
    """The evidence, or None where it does not hold."""


def _is_not_filled(scene: Scene) -> str | None:
    bad = ~torch.isfinite(scene.wrong)
    return f"{int(bad.sum())} of {bad.numel()} values are not finite" if bool(bad.any()) else None


def _bias(scene: Scene) -> str | None:
    """The difference is the same for every token."""
    gap = scene.wrong - scene.right
    rows = gap.flatten(0, 1).flatten(1)
    mean = rows.mean(0)
    if _small(rows - mean, mean):
        where = int((mean.abs() > FITS * mean.abs().max()).sum())
        return f"the difference does not depend on the token: a vector with {where} of {len(mean)} entries"
    return None


def _factor(scene: Scene) -> str | None:
    """One number times the right value."""
    factor = _ratio(scene.wrong, scene.right)
    if factor is None or abs(factor - 1) < 1e-6:
        return None
    return f"Megatron's value is {factor:.6g} times the right one"


def _permuted(scene: Scene) -> str | None:
    """The same numbers in another order."""
    wrong, right = (tensor.flatten(0, 1).flatten(1) for tensor in (scene.wrong, scene.right))
    if not _small(wrong.sort(-1).values - right.sort(-1).values, right):
        return None
    order = torch.cdist(wrong.t(), right.t()).argmin(1)
    moved = (order != torch.arange(len(order))).nonzero().flatten().tolist()
    return f"the right channels in another order: channel {moved[0]} holds {int(order[moved[0]])}" if moved else None


def _epsilon(scene: Scene) -> str | None:
    """Each token is off by a factor of its own, which another epsilon explains."""
    entered = _input_of(scene)
    if entered is None:
        return None
    wrong, right = scene.wrong.flatten(2), scene.right.flatten(2)
    ratio = (wrong * right).sum(-1) / right.square().sum(-1)
    if not _small(wrong - ratio[..., None] * right, right) or entered.dim() != 3:
        return None
    power = entered.square().mean(-1) if not _centred(scene) else entered.var(-1, unbiased=False)
    own = getattr(scene.module, "eps", None)
    if own is None:
        return "each token is off by a factor of its own"
    needed = (ratio**2 * (power + own) - power).median()
    fits = ((power + own) * ratio**2 - power - needed).abs().max() < 0.02 * (abs(float(needed)) + abs(own))
    return f"epsilon is {own:.6g} here and {float(needed):.6g} in Hugging Face" if bool(fits) else None


def _norm_offset(scene: Scene) -> str | None:
    """Each channel is off by a factor of its own: the weight w is used as 1 + w, or the other way round."""
    factor = (scene.wrong * scene.right).flatten(0, 1).sum(0) / scene.right.square().flatten(0, 1).sum(0)
    if not _small(scene.wrong - factor * scene.right, scene.right) or float((factor - factor[0]).abs().max()) < FITS:
        return None
    weight = getattr(scene.module, "layer_norm_weight", getattr(scene.module, "weight", None))
    if weight is None or weight.shape != factor.shape:
        return "each channel is off by a factor of its own: the weight is another one"
    used = weight.detach().double() + (1.0 if getattr(scene.module, "zero_centered_gamma", False) else 0.0)
    right = used / factor
    for shift, words in ((-1.0, "w is used as 1 + w"), (1.0, "1 + w is used as w")):
        if float((right - used - shift).abs().max()) < 0.01:
            return words
    return "each channel is off by a factor of its own: the weight is that of another norm"


def _rotation(scene: Scene) -> str | None:
    """The first token, where every rotation is none, agrees; later ones do not."""
    right, wrong = scene.right, scene.wrong
    diagonal = (wrong - right).diagonal(dim1=-2, dim2=-1).abs().max()
    scale = float(right.square().mean().sqrt())
    if float(diagonal) > FITS * scale:
        return None  # a token's product with itself does not depend on its position
    return "products of a token with itself agree, those between tokens do not: positions are encoded otherwise"


def _content(scene: Scene) -> str | None:
    right, wrong = (value.diagonal(dim1=-2, dim2=-1) for value in (scene.right, scene.wrong))
    if float((wrong - right).abs().max()) <= FITS * float(scene.right.square().mean().sqrt()):
        return None
    if (factor := _ratio(wrong, right)) is not None:
        return (
            f"a token's product with itself is {factor:.6g} times the right one: a factor on queries, keys or rotation"
        )
    return "a token's product with itself differs: queries, keys or their norms, not the rotation alone"


def _window(scene: Scene) -> str | None:
    """All tokens up to some position agree: those that see everything before them on both sides."""
    position = scene.difference.first_position
    length = scene.wrong.shape[1]
    if position is None or position < 2:
        return None
    return f"the first {position} of {length} tokens agree: a window or chunk of about {position} on one side"


def _softmax(scene: Scene) -> str | None:
    """The first token sees itself alone, so that only a sink or a scaled value can move it."""
    position = scene.difference.first_position
    if position == 0:
        return "the first token, which sees itself alone, differs: an attention sink, or a factor on the output"
    if position == 1:
        return "from the second token on: softcap, softmax scale or mask; scores before them agree"
    return None


def _is_another(scene: Scene) -> str | None:
    """The very value that Hugging Face has at another place."""
    for name, call in scene.seen.calls.items():
        values = {"goes into": call.entered, "comes out of": call.left}
        values |= {f"is the {key} of": tensor for key, tensor in call.extra.items() if key in ("value", "context")}
        for words, value in values.items():
            held = None if value is None else _like(value, scene.wrong)
            if held is None or _small(held - scene.right, scene.right):  # its own place
                continue
            if _small(held - scene.wrong, scene.wrong):
                return f"Megatron has here what {words} {name or 'the model'}"
    return None


def _like(value: torch.Tensor, shape_of: torch.Tensor) -> torch.Tensor | None:
    """A value in that shape; [batch, heads, sequence, dim] also as [batch, sequence, heads, dim]."""
    if value.shape == shape_of.shape:
        return value
    if value.dim() == 4 and value.transpose(1, 2).shape == shape_of.shape:
        return value.transpose(1, 2)
    return None


ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu (tanh)": lambda x: F.gelu(x, approximate="tanh"),
    "quick gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": F.relu,
    "relu squared": lambda x: F.relu(x).square(),
    "sigmoid": torch.sigmoid,
}


def _activation(scene: Scene) -> str | None:
    """Between the projections of an MLP: which curve each side has, found by trying."""
    before = _projections(scene)
    if not before:
        return None
    found = [_curve(value, before) for value in (scene.wrong, scene.right)]
    if found == [None, None]:
        return None
    wrong, right = (text or "no known curve of its projections" for text in found)
    return f"Megatron computes {wrong}, Hugging Face {right}"


def _curve(value: torch.Tensor, before: list[tuple[str, torch.Tensor]]) -> str | None:
    """The formula that gives a value from the outputs of one or two projections."""
    for name, curve in ACTIVATIONS.items():
        for one, (first, gate) in enumerate(before):
            others = [part for number, part in enumerate(before) if number != one]
            made, words = curve(gate), f"{name}({first})"
            if others:
                made, words = made * others[0][1], f"{words} * {others[0][0]}"
            if made.shape == value.shape and _small(made - value, value):
                return words
    return None


def _projections(scene: Scene) -> list[tuple[str, torch.Tensor]]:
    """Outputs of the one or two linears before the one whose input differs, on the Hugging Face side."""
    name = scene.difference.site.hugging_face
    parent = name.rpartition(".")[0]
    width, head = scene.right.shape[-1], scene.right.shape[:2]
    beside = [
        (other.removeprefix(f"{parent}."), call.left)
        for other, call in sorted(scene.seen.calls.items(), key=lambda item: item[1].began)
        if other in scene.own_weights and other != name and other.startswith(f"{parent}.") and call.left is not None
    ]
    beside = [(words, value) for words, value in beside if value.shape[:2] == head]
    whole = [(words, value) for words, value in beside if value.shape[-1] == width]
    if whole:
        return whole[:2]
    joined = [(words, value) for words, value in beside if value.shape[-1] == 2 * width][:1]
    return [
        half
        for words, value in joined
        for half in ((f"first half of {words}", value[..., :width]), (f"second half of {words}", value[..., width:]))
    ]


def _routing(scene: Scene) -> str | None:
    """Which experts, or only how much of each."""
    wrong, right = scene.wrong > 0, scene.right > 0
    other = int((wrong != right).any(-1).sum())
    tokens = right.shape[0] * right.shape[1]
    if other:
        return f"routing differs: {other} of {tokens} tokens go to other experts"
    sums = [float(value.sum(-1).mean()) for value in (scene.wrong, scene.right)]
    same = f"every token goes to the right experts; their weights sum to {sums[0]:.4g} here, {sums[1]:.4g} there"
    return f"arithmetic differs: {same}"


CAUSES: tuple[Cause, ...] = (
    Cause("not filled", (), _is_not_filled),
    Cause("router", ("routing",), _routing),
    Cause("norm epsilon", ("normed",), _epsilon),
    Cause("norm offset or weight", ("normed",), _norm_offset),
    Cause("a value of another place", ("input", "normed", "output", "value"), _is_another),
    Cause("missing or extra bias", ("output", "normed", "logits", "value"), _bias),
    Cause("a factor", ("input", "output", "scores", "value", "context", "logits"), _factor),
    Cause("order of channels", ("output", "value"), _permuted),
    Cause("rotary embedding", ("scores",), _rotation),
    Cause("queries or keys", ("scores",), _content),
    Cause("window", ("context",), _window),
    Cause("softmax", ("context",), _softmax),
    Cause("activation", ("input",), _activation),
)
"""All that apply are said, in this order."""


def likely(scene: Scene) -> list[dict[str, str]]:
    """Explanations that hold, as `{"cause", "evidence"}`."""
    found = []
    for cause in CAUSES:
        if cause.at and scene.difference.site.what not in cause.at:
            continue
        if (evidence := cause.test(scene)) is not None:
            found.append({"cause": cause.name, "evidence": evidence})
            if cause.name == "not filled":
                break
    return found


def _small(gap: torch.Tensor, beside: torch.Tensor) -> bool:
    scale = float(beside.square().mean().sqrt())
    return scale > 0 and math.isfinite(scale) and float(gap.abs().max()) < FITS * scale


def _ratio(wrong: torch.Tensor, right: torch.Tensor) -> float | None:
    factor = float((wrong * right).sum() / right.square().sum())
    return factor if math.isfinite(factor) and _small(wrong - factor * right, wrong) else None


def _input_of(scene: Scene) -> torch.Tensor | None:
    call = scene.seen.call(scene.difference.site.hugging_face)
    return None if call is None else call.entered


def _centred(scene: Scene) -> bool:
    normalization = getattr(scene.module, "normalization", "")
    return "Layer" in (normalization or type(scene.module).__name__)
