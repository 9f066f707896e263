"""Whether a class refuses its own config: then no toy of it can run, and that is no fault of the toy."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class _ScalarsOfMeta(TorchDispatchMode):
    """Lets code ask tensors without memory for a number, as code of masks does: the answer is 1."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            return args[0].dtype == torch.bool or 1
        return func(*args, **(kwargs or {}))


def place_of(error: BaseException) -> str | None:
    """`modeling_x.py:12`: the innermost line of modeling code that an error went through."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in frames]
    return next((line for line in reversed(lines) if line.startswith("modeling_")), None)


def own_fault(error: BaseException, build: Callable[[], Any]) -> tuple[str, str] | None:
    """(what is said, source line), where the model of the config itself stops where its toy stopped; else None.

    Args:
        error: what the toy raised.
        build: makes the model of the unchanged config, without memory (on the meta device).
    """
    place = place_of(error)
    if place is None:
        return None
    try:
        model = build()
        with torch.no_grad(), _ScalarsOfMeta():
            model(input_ids=torch.zeros(1, 8, dtype=torch.long, device="meta"), use_cache=False)
    except Exception as other:
        without_memory = isinstance(other, NotImplementedError) or "meta" in str(other)
        if place_of(other) == place and not without_memory:  # types differ: checks of arguments do on the meta device
            return " ".join(f"{type(error).__name__}: {error}".split())[:300], place
    return None
