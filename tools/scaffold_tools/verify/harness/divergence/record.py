"""What both models compute on the way: inputs and outputs of their modules, and what goes through attention.

Tensors are kept as [batch, sequence, ...] on both sides; Megatron's own order is [sequence, batch, ...].
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

ATTENTION_FUNCTION = "eager_attention_forward"
"""The function of a modeling module that turns queries, keys and values into an attention's output."""


@dataclass
class Call:
    """One call of one module: the tensor that went in and the one that came out."""

    name: str
    began: int
    """Number of the event at which it was entered; events are counted over both entering and leaving."""
    ended: int = 0
    entered: torch.Tensor | None = None
    left: torch.Tensor | None = None
    extra: dict[str, torch.Tensor] = field(default_factory=dict)
    """`scores`, `value`, `context` of an attention; `weights`, `chosen`, `indices` of a router."""


@dataclass
class Recording:
    """Calls in the order in which they began; a module that ran several times has its first call here."""

    calls: dict[str, Call] = field(default_factory=dict)
    events: int = 0

    def call(self, name: str) -> Call | None:
        """The call of that module, if it ran."""
        return self.calls.get(name)

    def enter(self, name: str) -> Call | None:
        """A new call, or None for a module that has one already."""
        if name in self.calls:
            return None
        self.events += 1
        self.calls[name] = Call(name, self.events)
        return self.calls[name]

    def leave(self, name: str) -> Call | None:
        """The call that ends now, or None where it has ended before."""
        call = self.calls.get(name)
        if call is None or call.ended:
            return None
        self.events += 1
        call.ended = self.events
        return call


@contextmanager
def recorded(model: Any, batch: int, length: int, sequence_first: bool) -> Iterator[Recording]:
    """Record every module of a model that is given `batch` sequences of `length` tokens."""
    recording = Recording()
    handles = []

    def keep(tensor: torch.Tensor | None) -> torch.Tensor | None:
        return None if tensor is None else as_batches(tensor, batch, length, sequence_first)

    def watch(name: str, module: Any) -> None:
        def before(_: Any, args: Any, kwargs: Any) -> None:
            call = recording.enter(name)
            if call is not None:
                call.entered = keep(_first_tensor((*args, *kwargs.values())))

        def after(_: Any, args: Any, output: Any) -> None:
            call = recording.leave(name)
            if call is not None:
                call.left = keep(_with_bias(output))

        handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(module.register_forward_hook(after))

    for name, module in model.named_modules():
        watch(name, module)
    try:
        yield recording
    finally:
        for handle in handles:
            handle.remove()


def as_batches(tensor: torch.Tensor, batch: int, length: int, sequence_first: bool) -> torch.Tensor | None:
    """A float tensor as [batch, sequence, ...]; None where its first axes are not batch and sequence."""
    if not tensor.is_floating_point():
        return None
    tensor = tensor.detach()
    if tensor.dim() > 1 and tensor.shape[0] == batch * length:
        shape = (length, batch) if sequence_first else (batch, length)
        tensor = tensor.reshape(*shape, *tensor.shape[1:])
    first = (length, batch) if sequence_first else (batch, length)
    if tensor.dim() < 3 or tuple(tensor.shape[:2]) != first:
        return None
    return (tensor.transpose(0, 1) if sequence_first else tensor).double().clone()


def _first_tensor(values: Any) -> torch.Tensor | None:
    return next((value for value in values if isinstance(value, torch.Tensor) and value.is_floating_point()), None)


def _with_bias(output: Any) -> torch.Tensor | None:
    """The output of a module; Megatron's linears may return their bias beside it, to be added later."""
    if isinstance(output, torch.Tensor):
        return output
    if not isinstance(output, tuple):
        hidden = getattr(output, "last_hidden_state", None)
        return hidden if isinstance(hidden, torch.Tensor) else None
    first = _first_tensor(output)
    if first is None:
        return None
    second = output[1] if len(output) == 2 else None
    apart = isinstance(second, torch.Tensor) and second.dim() == 1 and second.shape[0] == first.shape[-1]
    return first + second if apart else first


@contextmanager
def attention_of_hugging_face(model: Any, recording: Recording) -> Iterator[None]:
    """Keep scores, values and output of each attention that goes through its module's attention function."""
    names = {id(module): name for name, module in model.named_modules()}
    with ExitStack() as stack:
        for module in {sys.modules[type(part).__module__] for part in model.modules()}:
            function = getattr(module, ATTENTION_FUNCTION, None)
            if function is None:
                continue

            def watching(
                part: Any, query: Any, key: Any, value: Any, *args: Any, _run: Any = function, **kwargs: Any
            ) -> Any:
                result = _run(part, query, key, value, *args, **kwargs)
                call = recording.call(names.get(id(part), ""))
                if call is not None and "scores" not in call.extra and query.dim() == 4:
                    scale = kwargs.get("scaling")
                    scale = query.shape[-1] ** -0.5 if scale is None else scale
                    call.extra |= {"scores": scores(query, key, scale), "value": value.detach().double()}
                    call.extra["context"] = result[0].detach().double().flatten(2)
                return result

            setattr(module, ATTENTION_FUNCTION, watching)
            stack.callback(setattr, module, ATTENTION_FUNCTION, function)
        yield


@contextmanager
def attention_of_megatron(model: Any, recording: Recording) -> Iterator[None]:
    """Keep scores, values and output of each core attention, and what routers decide."""
    handles = []
    for name, module in model.named_modules():
        if name.endswith("core_attention"):
            handles.append(module.register_forward_hook(_core_watcher(name, recording), with_kwargs=True))
        elif callable(getattr(module, "routing", None)):
            handles.append(module.register_forward_hook(_router_watcher(name, recording)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _core_watcher(name: str, recording: Recording) -> Any:
    def after(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        given = [*args, *(kwargs[key] for key in ("query", "key", "value") if key in kwargs)]
        call = recording.call(name)
        scale = _scale_of(module)
        if call is None or "scores" in call.extra or len(given) < 3 or scale is None:
            return
        query, key, value = (tensor.permute(1, 2, 0, 3) for tensor in given[:3])  # [batch, heads, sequence, dim]
        call.extra |= {"scores": scores(query, key, scale), "value": value.detach().double()}
        out = output[0] if isinstance(output, tuple) else output
        call.extra["context"] = out.detach().transpose(0, 1).double().flatten(2)

    return after


def _scale_of(module: Any) -> float | None:
    """The factor on scores, of Transformer Engine's attention (or what wraps it) or of Megatron's own."""
    for part in module.modules():
        scale = getattr(part, "softmax_scale", None)
        if isinstance(scale, float):
            return scale
    return None


def _router_watcher(name: str, recording: Recording) -> Any:
    def after(_: Any, args: Any, output: Any) -> None:
        call = recording.call(name)
        if call is None or "weights" in call.extra or not isinstance(output, tuple) or args[0].dim() != 3:
            return
        length, batch = args[0].shape[:2]
        dense, chosen = (part.detach().reshape(length, batch, -1).transpose(0, 1) for part in output[:2])
        call.extra |= {"weights": dense.double(), "chosen": chosen.bool()}

    return after


def routing_of_hugging_face(model: Any, recording: Recording, batch: int, length: int) -> Any:
    """Watch modules that are given the chosen experts of each token, and their weights: [tokens, k], twice."""
    handles = []

    def watch(name: str) -> Any:
        def before(_: Any, args: Any, kwargs: Any) -> None:
            call = recording.call(name)
            given = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
            indices = [value for value in given if value.dtype == torch.int64 and value.dim() == 2]
            if call is None or "weights" in call.extra or len(indices) != 1:
                return
            chosen = indices[0]
            weights = [value for value in given if value.is_floating_point() and value.dim() == 2]
            weights = [value for value in weights if value.shape[0] == chosen.shape[0] == batch * length]
            if weights:
                call.extra["indices"] = chosen.reshape(batch, length, -1)
                call.extra["weights"] = weights[-1].detach().double().reshape(batch, length, -1)

        return before

    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(watch(name), with_kwargs=True))
    return handles


def scores(query: torch.Tensor, key: torch.Tensor, scale: float) -> torch.Tensor:
    """Scaled products [batch, heads, sequence, sequence] before mask, softcap and softmax; what lies ahead is 0.

    They do not depend on the order of dims in a head, in which two right implementations may differ.
    """
    query, key = query.detach().double(), key.detach().double()
    key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    return torch.tril(query @ key.transpose(-1, -2)) * scale
