"""Empty stand-ins for packages that Megatron-Bridge's recipes import on their way, and that no recipe of a language
model uses: the CPU lane does not have them. A package that is installed is never replaced."""

from __future__ import annotations

import abc
import importlib.machinery
import importlib.util
import sys
import types

ABSENT = ("absl", "diffusers", "ftfy", "google", "imageio", "megatron.energon", "modelopt", "tensorboard")


class _Meta(abc.ABCMeta):
    def __getattr__(cls, name: str) -> object:
        return _nothing(name)


class _Nothing(metaclass=_Meta):
    """Can be subclassed, called, used as a decorator, and asked for any attribute."""

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __call__(self, *args: object, **kwargs: object) -> object:
        return args[0] if args else self


def _nothing(name: str) -> object:
    if name.startswith("__"):
        raise AttributeError(name)
    return _Meta(name, (_Nothing,), {})


class _Module(types.ModuleType):
    def __getattr__(self, name: str) -> object:
        return _nothing(name)


class _Finder:
    """Comes last, so that it is asked only for what nothing else finds."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        if any(name == absent or name.startswith(f"{absent}.") for absent in ABSENT):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = _Module(spec.name)
        module.__path__ = []
        module.__version__ = "99.0"  # type: ignore[attr-defined]  # torch asks tensorboard for it
        return module

    def exec_module(self, module: types.ModuleType) -> None: ...


sys.meta_path.append(_Finder())
