"""Takes the CUDA assumptions out of megatron-core and Megatron-Bridge on a machine without a GPU.

None of this changes arithmetic: streams and events order work that a CPU does in order anyway, and an explicit
`device="cuda"` becomes `"cpu"`.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _Ordered:
    """A stream or event where everything is in order: every wait is over, every query true."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: self

    def query(self) -> bool:
        return True

    def elapsed_time(self, other: Any) -> float:
        return 0.0


def neutralise() -> list[str]:
    """Replace the calls of `torch.cuda` that Megatron makes unasked; returns what, [] where CUDA is there.

    Safe to call more than once.
    """
    if torch.cuda.is_available():
        return []
    if torch.cuda.Stream is not _Ordered:
        _replace()
    return [
        "torch.cuda: device, streams, events, synchronize, random state",
        "Tensor.record_stream",
        "all_to_all_single: split sizes",
    ]


def _replace() -> None:
    stream = _Ordered()
    replacements: dict[str, Any] = {
        "current_device": lambda: torch.device("cpu"),
        "set_device": lambda device: None,
        "Stream": _Ordered,
        "Event": _Ordered,
        "current_stream": lambda *args, **kwargs: stream,
        "default_stream": lambda *args, **kwargs: stream,
        "stream": lambda *args, **kwargs: contextlib.nullcontext(),
        "synchronize": lambda *args, **kwargs: None,
        "get_rng_state": lambda *args, **kwargs: torch.get_rng_state(),
        "set_rng_state": lambda *args, **kwargs: None,
    }
    for name, replacement in replacements.items():
        setattr(torch.cuda, name, replacement)
    torch.Tensor.record_stream = lambda self, *args: None  # type: ignore[method-assign]
    original = torch.distributed.all_to_all_single

    def all_to_all_single(output: Any, input: Any, *splits: Any, **kwargs: Any) -> Any:
        """Megatron turns split sizes into lists on CUDA only; gloo takes nothing else."""
        for name in ("output_split_sizes", "input_split_sizes"):
            if name in kwargs:
                kwargs[name] = _as_list(kwargs[name])
        return original(output, input, *map(_as_list, splits[:2]), *splits[2:], **kwargs)

    torch.distributed.all_to_all_single = all_to_all_single


def _as_list(sizes: Any) -> list[int] | None:
    return None if sizes is None else [int(size) for size in sizes]


class OnCpu(TorchFunctionMode):
    """Within this context an explicit CUDA device means the CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.cuda:
            return args[0]
        if _is_cuda(kwargs.get("device")):
            kwargs["device"] = "cpu"
        if kwargs.get("pin_memory"):  # for a copy that is not made
            kwargs["pin_memory"] = False
        if func is torch.Tensor.to and len(args) > 1 and _is_cuda(args[1]):
            args = (args[0], "cpu", *args[2:])
        return func(*args, **kwargs)


class OnMeta(TorchFunctionMode):
    """Within this context every device is the meta device: tensors have shapes and no numbers."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.Tensor.cuda, torch.Tensor.cpu):
            return args[0]
        if kwargs.get("device") is not None:
            kwargs["device"] = "meta"
        if func is torch.Tensor.to and len(args) > 1 and isinstance(args[1], str | torch.device):
            args = (args[0], "meta", *args[2:])
        return func(*args, **kwargs)


def _is_cuda(device: Any) -> bool:
    return (isinstance(device, str) and device.startswith("cuda")) or getattr(device, "type", None) == "cuda"
