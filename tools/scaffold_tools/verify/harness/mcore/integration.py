"""Makes AutoBridge pick the integration under test, and says which class that is and which one it replaced."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Registered:
    """The outcome of registering an integration."""

    replaced: str | None
    """`module:Class` that was registered for this very architecture before."""


def register(integration: dict[str, Any], architecture: str) -> Registered:
    """Import what registers the bridge.

    `installed`: nothing but Megatron-Bridge itself. `package`: a module of a folder. `checkout`: a Megatron-Bridge
    source tree, whose `megatron.bridge` takes the place of the installed one.
    """
    kind = integration["kind"]
    if kind == "checkout":
        _use_checkout(Path(integration["path"]))
    importlib.import_module("megatron.bridge")
    if kind == "installed":
        return Registered(None)
    before = registered_for(architecture)
    if kind == "package":
        sys.path.insert(0, str(integration["path"]))
        importlib.import_module(integration["module"])
    elif integration.get("module"):
        importlib.import_module(integration["module"])
    after = registered_for(architecture)
    return Registered(before if before != after else None)


def registered_for(architecture: str) -> str | None:
    """`module:Class` that the dispatch registry holds for exactly this architecture, if any."""
    import transformers
    from megatron.bridge.models.conversion import model_bridge

    keys = (getattr(transformers, architecture, None), architecture)
    entries = model_bridge.get_model_bridge._exact_types
    implementation = next((entries[key] for key in keys if key is not None and key in entries), None)
    return None if implementation is None else class_name(type(implementation(None)))


def class_name(kind: type) -> str:
    """`module:Class`."""
    return f"{kind.__module__}:{kind.__qualname__}"


def expected(integration: dict[str, Any], picked: type) -> tuple[bool, str]:
    """Whether the picked bridge is the one under test, and what was expected."""
    kind = integration["kind"]
    if integration.get("bridge"):
        return class_name(picked) == integration["bridge"], integration["bridge"]
    file = Path(getattr(sys.modules[picked.__module__], "__file__", "") or "").resolve()
    if kind == "installed":
        return True, "any"
    folder = Path(integration["path"]).resolve()
    if kind == "package":
        top = integration["module"].split(".")[0]
        return picked.__module__.split(".")[0] == top and file.is_relative_to(folder), f"{top} of the package"
    return file.is_relative_to(folder), "a class of the checkout"


def _use_checkout(path: Path) -> None:
    """Put the checkout first, and forget what was imported of the installed Megatron-Bridge."""
    source = path if (path / "megatron").is_dir() else path / "src"
    if not (source / "megatron" / "bridge").is_dir():
        raise FileNotFoundError(f"no megatron/bridge in {path} or {path / 'src'}")
    sys.path.insert(0, str(source))
    for name in [name for name in sys.modules if name == "megatron.bridge" or name.startswith("megatron.bridge.")]:
        del sys.modules[name]
    importlib.invalidate_caches()
    module = importlib.import_module("megatron.bridge")
    if not Path(module.__file__ or "").resolve().is_relative_to(source.resolve()):
        raise ImportError(f"megatron.bridge comes from {module.__file__}, not from {source}")
