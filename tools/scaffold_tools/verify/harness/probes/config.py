"""The config object: its attributes as plain JSON, which of them the modeling code reads, and what each changes."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from typing import Any

QUIET_FILES = (
    *("configuration_", "modeling_utils.py", "toy", "probe", "dynamic_module_utils.py", "auto_factory.py"),
    *("import_utils.py", "modeling_attn_mask_utils.py", "core_model_loading.py", "generic.py", "hub.py"),
    *("loss_utils.py", "output_capturing.py"),
)
"""Files whose reads are bookkeeping, not the model's arithmetic (beginnings of base names)."""
SHORT_LIST = 8
"""Longest list whose numbers are each a key of its own: a few factors, not one a layer or a frequency."""
QUIET_FOLDERS = ("/generation/", "/torch/", "/quantizers/")


def attributes(hf_config: Any) -> dict[str, Any]:
    """Every JSON-able attribute of a config object by dotted path, aliases included.

    Dicts are kept whole and also opened (`rope_parameters` and `rope_parameters.rope_theta`), and so are short lists
    of floats (`multipliers.0`).
    """
    names = {name for name in vars(hf_config) if not name.startswith("_")}
    names |= {name for name in hf_config.to_dict() if not name.startswith("_")}
    names |= set(getattr(type(hf_config), "attribute_map", {}) or {})
    names |= {name for name, item in _class_items(type(hf_config)) if isinstance(item, property)}
    found: dict[str, Any] = {}
    for name in sorted(names - {"transformers_version", "auto_map", "architectures", "name_or_path"}):
        with contextlib.suppress(Exception):
            _open(found, name, getattr(hf_config, name))
    return found


def _class_items(kind: type) -> list[tuple[str, Any]]:
    universal = {"use_return_dict", "num_labels", "output_attentions", "rope_scaling"}
    return [
        (name, item)
        for base in kind.__mro__[:-1]
        for name, item in vars(base).items()
        if not name.startswith("_") and name not in universal
    ]


def _open(found: dict[str, Any], path: str, value: Any) -> None:
    if not _plain(value):
        return
    found[path] = value
    if isinstance(value, dict):
        for key, item in value.items():
            if "." not in str(key):
                _open(found, f"{path}.{key}", item)
    if isinstance(value, (list, tuple)) and len(value) <= SHORT_LIST and all(type(item) is float for item in value):
        for index, item in enumerate(value):
            _open(found, f"{path}.{index}", item)


def _plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(_plain(item) for item in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, (bool, int, str))


@contextlib.contextmanager
def recorded_reads(reads: dict[str, str]) -> Iterator[None]:
    """While active, note each config attribute that modeling code reads, with the first `file.py:line` that did."""
    from transformers import PretrainedConfig

    original = PretrainedConfig.__getattribute__
    paths: dict[int, str] = {}
    kept: list[Any] = []  # ids of dead objects are used again

    def reading(self: Any, name: str) -> Any:
        value = original(self, name)
        if not name.startswith("_") and not callable(value):
            path = paths.get(id(self), "") + (original(self, "attribute_map") or {}).get(name, name)
            if isinstance(value, PretrainedConfig) and id(value) not in paths:
                paths[id(value)] = f"{path}."
                kept.append(value)
            where = _reader() if path not in reads else None
            if where is not None:
                reads.setdefault(path, where)
        return value

    PretrainedConfig.__getattribute__ = reading  # type: ignore[method-assign]
    try:
        yield
    finally:
        PretrainedConfig.__getattribute__ = original  # type: ignore[method-assign]


def _reader() -> str | None:
    frame = sys._getframe(2)
    path = frame.f_code.co_filename
    base = os.path.basename(path)
    if base.startswith(QUIET_FILES) or any(folder in path for folder in QUIET_FOLDERS):
        return None
    return f"{path}:{frame.f_lineno}"


def varied(toy: dict[str, Any], key: str, value: Any) -> dict[str, Any] | None:
    """The toy's config with one key changed to another value of the same type; None where no rule gives one.

    A dotted key is one of a config inside the config.
    """
    changed = _another(value)
    if changed is None:
        return None
    head, _, rest = key.partition(".")
    return {**toy, head: {**toy[head], rest: changed} if rest else changed}


def value_at(toy: dict[str, Any], key: str) -> Any:
    """The value of a key, or of a dotted key one level deep; None where the config has none."""
    head, _, rest = key.partition(".")
    inner = toy.get(head)
    return (inner.get(rest) if isinstance(inner, dict) else None) if rest else inner


def _another(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, float) and value:
        return value * 1.125
    if isinstance(value, int) and value >= 0:
        return value + 1
    return None


def effect(base: Any, other: Any) -> str:
    """`none` when two (names and shapes, logits) pairs agree, else what differs first: `tensors` or `logits`."""
    import torch

    if base[0] != other[0]:
        return "tensors"
    return "none" if torch.equal(base[1], other[1]) else "logits"
