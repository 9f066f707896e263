"""Bounds that a toy's values never reach: a clamp that does not act could have any limit, or be left out.

Limits that the config names are canaries, small enough to act. Those that only the code has (7.0 in a gated
activation) are found by watching a forward pass, and the weights before them are scaled until they act.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

CLAMPS = ("aten::clamp", "aten::clamp_", "aten::clamp_min", "aten::clamp_max", "aten::hardtanh")
BOUNDS = (0.1, 1000.0)
"""Limits outside guard against zero and overflow; they are not part of the model."""
BEYOND = 1.6
"""How far beyond the limit the largest value is brought."""
ROUNDS = 3


class _Clamps(TorchDispatchMode):
    """For the module that runs: the largest share of a limit that a value reached, over clamps that did not act."""

    def __init__(self, running: list[Any]) -> None:
        super().__init__()
        self.running = running
        self.idle: dict[Any, float] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._schema.name in CLAMPS and args[0].is_floating_point() and self.running:
            share = _share(args[0], _limits(func._schema.name, args, kwargs))
            if share is not None:
                module = self.running[-1]
                self.idle[module] = max(self.idle.get(module, 0.0), share)
        return func(*args, **kwargs)


def _limits(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[float | None, float | None]:
    lower = args[1] if len(args) > 1 else kwargs.get("min")
    upper = args[2] if len(args) > 2 else kwargs.get("max")
    if name == "aten::clamp_max":
        lower, upper = None, lower if lower is not None else upper
    return tuple(
        float(limit) if isinstance(limit, int | float) and BOUNDS[0] <= abs(limit) <= BOUNDS[1] else None
        for limit in (lower, upper)
    )  # type: ignore[return-value]


def _share(values: torch.Tensor, limits: tuple[float | None, float | None]) -> float | None:
    """The largest value over its limit, at either end; None without limits, or where one acts."""
    lower, upper = limits
    shares = [] if upper is None else [float(values.max()) / upper]
    shares += [] if lower is None else [float(values.min()) / lower]
    largest = max(shares, default=None)
    return None if largest is None or largest > 1 else largest


def reach_clamps(model: Any, run: Any) -> int:
    """Scale the weights of modules whose clamps never act until they do; returns how many modules that were.

    Args:
        model: a randomised toy.
        run: a forward pass of it.
    """
    scaled: set[Any] = set()
    for _ in range(ROUNDS):
        idle = {module: share for module, share in _watch(model, run).items() if share > 0}
        if not idle:
            break
        with torch.no_grad():
            for module, share in idle.items():
                for parameter in module.parameters():
                    parameter.mul_(BEYOND / share)
        scaled |= set(idle)
    return len(scaled)


def _watch(model: Any, run: Any) -> dict[Any, float]:
    """Modules with parameters in which a clamp ran and did not act."""
    running: list[Any] = []
    handles = []
    for module in model.modules():
        if module is not model and [*module.parameters()]:
            handles.append(module.register_forward_pre_hook(lambda part, _: running.append(part)))
            handles.append(module.register_forward_hook(lambda *_: running.pop() and None))
    try:
        with _Clamps(running) as clamps:
            run()
    finally:
        for handle in handles:
            handle.remove()
    return clamps.idle
