"""Takes mcore_adapter from a checkout of ROLL, and finds what is registered there for a model type.

No registry has the package: what is called mcore-adapter on PyPI is something else, so nothing is imported that does
not come from the checkout.
"""

from __future__ import annotations

import ast
import importlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCES = Path("mcore_adapter") / "src"
MODELS = "mcore_adapter.models"


@dataclass(frozen=True)
class Registry:
    """One of the places where a model type has to be registered."""

    call: str
    module: str
    table: str

    def entries(self) -> dict[str, Any]:
        """What is registered, by model type."""
        found: dict[str, Any] = getattr(importlib.import_module(f"{MODELS}.{self.module}"), self.table)
        return found


REGISTRIES: tuple[Registry, ...] = (
    Registry("register_config", "auto.config_auto", "CONFIG_MAPPING"),
    Registry("register_model", "auto.modeling_auto", "MODEL_MAPPING"),
    Registry("register_dist_config", "converter.dist_converter", "dist_configs"),
    Registry("register_template", "converter.template", "templates"),
)
"""All four, or ROLL goes on with a guess: a plain config class, a plain model, a list where a rule is meant."""


@dataclass(frozen=True)
class Registered:
    """What a model type has in mcore_adapter."""

    name: str
    """`module:model_type`, the module being the one that registers the template; "" where none does."""
    replaced: str | None
    """The same for what was registered for this model type before."""
    missing: tuple[str, ...]
    """Calls that nobody made for this model type."""
    own: bool
    """Whether the template is the one under test."""

    @property
    def whole(self) -> bool:
        """All four registrations are there, and they are the ones under test."""
        return self.own and not self.missing


def use_checkout(integration: dict[str, Any], scratch: Path) -> None:
    """Import mcore_adapter from the checkout that the integration names, ready for a machine without a GPU.

    Raises:
        FileNotFoundError: there is no mcore_adapter in it.
        ImportError: another mcore_adapter than the checkout's is imported.
    """
    source = Path(integration["framework"] or integration["path"]) / SOURCES
    if not (source / "mcore_adapter").is_dir():
        raise FileNotFoundError(f"no mcore_adapter in {source}")
    os.environ["HUGGINGFACE_AUTOMAP_CACHE"] = str(scratch / "automap")  # else below the current folder
    sys.path.insert(0, str(source))
    _no_cuda_seeds()
    module = importlib.import_module("mcore_adapter")
    if not Path(module.__file__ or "").resolve().is_relative_to(source.resolve()):
        raise ImportError(f"mcore_adapter comes from {module.__file__}, not from {source}")
    importlib.import_module(MODELS)


def _no_cuda_seeds() -> None:
    """ROLL seeds generators of CUDA that a CPU has not; weights are loaded, nothing here is random."""
    from megatron.core import tensor_parallel

    for place in (tensor_parallel, tensor_parallel.random):
        place.model_parallel_cuda_manual_seed = lambda *args, **kwargs: None


def loaded_type(config: dict[str, Any]) -> str:
    """The model type that ROLL looks up: that of the loaded config, where some types share the class of another."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    named = str(config.get("model_type"))
    return str(CONFIG_MAPPING[named].model_type) if named in CONFIG_MAPPING else named


def register(integration: dict[str, Any], model_type: str) -> Registered:
    """Import what registers the integration, and say what is registered now."""
    templates = REGISTRIES[-1].entries()
    before = templates.get(model_type)
    replaced = _name(model_type) if before is not None else None
    if integration["kind"] == "package":
        sys.path.insert(0, str(integration["path"]))
        importlib.import_module(integration["module"])
    after = templates.get(model_type)
    own = after is not None and (integration["kind"] != "package" or after is not before)
    missing = tuple(one.call for one in REGISTRIES if model_type not in one.entries())
    name = _name(model_type, first=(integration.get("module") or "").split(".")[0])
    return Registered(name if after is not None else "", replaced if after is not before else None, missing, own)


def _name(model_type: str, first: str = "") -> str:
    """`module:model_type` of the imported module that registers the template, looked for in its source."""
    found = [module for module in _registering(model_type) if module.split(".")[0] in (first, "mcore_adapter")]
    own = [module for module in found if module.split(".")[0] == first]
    return f"{([*own, *found] or [MODELS])[0]}:{model_type}"


def _registering(model_type: str) -> Iterator[str]:
    """Imported modules with `register_template("<model_type>", ...)` in their source."""
    for name, module in list(sys.modules.items()):
        file = Path(getattr(module, "__file__", None) or "")
        if file.suffix != ".py" or not file.is_file() or "register_template" not in vars(module):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            called = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "register_template"
            if called and any(getattr(one, "value", None) == model_type for one in _given(node)):
                yield name


def _given(call: Any) -> list[Any]:
    return [*call.args, *(word.value for word in call.keywords)]
