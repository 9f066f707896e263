"""Packages that Megatron-Bridge's checkpointing imports unasked and that a CPU lane can do without.

Where one of them is not installed, its names are there all the same and do nothing: ModelOpt has no state of a model
that it did not change, and nobody here loads data sets or writes logs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGES: tuple[tuple[str, str], ...] = (
    ("modelopt", "states of quantised and distilled models"),
    ("megatron.energon", "data sets of several modalities"),
    ("tensorboard", "logs of training"),
    ("google", "its protobuf: logs of training"),
    ("wandb", "logs of training"),
)
"""What may be missing, and what for it would be."""


class _Nothing(type):
    """Classes whose every attribute is such a class, and whose call does nothing and returns None."""

    def __call__(cls, *args: Any, **kwargs: Any) -> None:
        return None

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _nothing(name)


def _nothing(name: str) -> Any:
    return _Nothing(name, (), {})


class _Module(ModuleType):
    __version__ = "9999"
    __path__: Sequence[str] = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _nothing(name)


class _Finder:
    """Last on the meta path: what is installed wins."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if _is_absent(name) else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def _is_absent(name: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package, _ in PACKAGES)


@contextmanager
def absent_packages() -> Iterator[None]:
    """Within this context the packages of the table can be imported; afterwards those that are missing are again."""
    finder = _Finder()
    sys.meta_path.append(finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name, module in sys.modules.items() if isinstance(module, _Module)]:
            del sys.modules[name]
