"""The inventory as rules want to see it: the text model's config, and tensors grouped by name pattern."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

from scaffold_tools.classify.keys import find
from scaffold_tools.classify.values import as_dict, as_int
from scaffold_tools.source.inventory import Inventory, TensorInfo

TEXT_CONFIGS = (
    "text_config",
    "llm_config",
    "language_config",
    "lang_config",
    "language_model_config",
    "thinker_config",
    "vlm_config",
)
VISION_CONFIGS = (
    "vision_config",
    "visual_config",
    "vit_config",
    "vision_tower_config",
    "image_config",
    "vision_encoder_config",
)
AUDIO_CONFIGS = ("audio_config", "audio_encoder_config", "speech_config", "sound_config", "speech_encoder_config")

_MAX_NAME = 1024  # nobody's tensor is longer; some rules would take minutes over a name of megabytes
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")
_FIRST_LAYER = re.compile(r"(?:^|\.)(?:layers|layer|h|blocks|block)\.(\d{1,6})(?=\.|$)")
VISION_TOWER = re.compile(
    r"(^|\.)(vision_tower|visual|vision_model|vision_encoder|vision_embed\w*|vit|vpm|image_encoder|img_processor"
    r"|vision_backbone|patch_embed(s|ding|dings|der)?)(\.|$)"
)
AUDIO_TOWER = re.compile(
    r"(^|\.)(audio_tower|audio_encoder|audio_model|audio_embed\w*|apm|speech_encoder|sound_encoder)(\.|$)"
)


@dataclass(frozen=True)
class Pattern:
    """All tensors whose names differ in indices only, of one dtype (mixed precision stores one name in several)."""

    name: str
    """On-disk name with every index replaced by `*`."""
    count: int
    elements: int
    """Stored elements of all of them together."""
    first: TensorInfo
    layers: frozenset[int]
    """First index after a layer list, where the name has one."""


@dataclass(frozen=True)
class Signals:
    """What rules look at."""

    config: dict[str, Any]
    text: dict[str, Any]
    """The text model's own config: a sub-config of a multimodal model, else the config itself."""
    text_path: str
    """Its dotted path; empty when it is the config itself."""
    num_layers: int | None
    patterns: tuple[Pattern, ...]
    from_headers: bool
    """The tensor table was read from the checkpoint: what it does not have, the checkpoint does not have."""
    files: tuple[str, ...] = ()
    extra_quantisation: dict[str, Any] | None = None

    def has(self, *names: str) -> tuple[str, Any] | None:
        """The first key of the text config among rows `names` with a value other than null, false, 0 or empty."""
        for name in names:
            found = find(self.text, name)
            if found is not None and found[1] not in (False, 0, "", [], {}):
                return found
        return None

    def matching(self, expression: str) -> Iterator[Pattern]:
        """Patterns of the text model whose name matches (towers of other modalities left out)."""
        compiled = re.compile(expression)
        for pattern in self.patterns:
            if compiled.search(pattern.name) and not is_tower(pattern.name):
                yield pattern

    def first(self, expression: str) -> Pattern | None:
        """The first such pattern."""
        return next(self.matching(expression), None)


def is_tower(name: str) -> bool:
    """Whether a tensor belongs to a vision or audio tower."""
    return VISION_TOWER.search(name) is not None or AUDIO_TOWER.search(name) is not None


def read_signals(inventory: Inventory) -> Signals:
    """Group the inventory for the rules; never raises on any JSON."""
    path, text = text_config(inventory.config)
    depth = find(text, "num_hidden_layers") or find(text, "decoder_layers")
    layers = as_int(depth[1]) if depth else None
    table = inventory.tensors
    return Signals(
        config=inventory.config,
        text=text,
        text_path=path,
        num_layers=layers if layers and 0 < layers < 100_000 else None,
        patterns=group_tensors(table.tensors) if table else (),
        from_headers=table is not None and table.origin == "headers",
        files=inventory.files,
        extra_quantisation=inventory.quantization,
    )


def text_config(config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """`(dotted path, sub-config)` of the text model; `("", config)` where the config is not nested."""
    path: list[str] = []
    current = config
    for _ in range(4):
        name = next((key for key in TEXT_CONFIGS if as_dict(current.get(key))), None)
        if name is None:
            break
        path.append(name)
        current = current[name]
    return ".".join(path), current


def sub_config(config: dict[str, Any], names: tuple[str, ...]) -> tuple[str, dict[str, Any]] | None:
    """The first non-empty sub-config among `names`, at the top or one level down (as in `thinker_config`)."""
    for prefix, mapping in (("", config), *((f"{key}.", as_dict(config.get(key)) or {}) for key in TEXT_CONFIGS)):
        for name in names:
            found = as_dict(mapping.get(name))
            if found:
                return f"{prefix}{name}", found
    return None


def group_tensors(tensors: tuple[TensorInfo, ...]) -> tuple[Pattern, ...]:
    """Tensors grouped by dtype and name with indices replaced, in order of first appearance."""
    groups: dict[tuple[str, str], list[TensorInfo]] = {}
    for tensor in tensors:
        groups.setdefault((_NUMBER.sub("*", tensor.name[:_MAX_NAME]), tensor.dtype), []).append(tensor)
    return tuple(_pattern(name, members) for (name, _), members in groups.items())


def _pattern(name: str, members: list[TensorInfo]) -> Pattern:
    indices = (match.group(1) for member in members if (match := _FIRST_LAYER.search(member.name[:_MAX_NAME])))
    elements = sum(prod(member.shape) for member in members)
    return Pattern(
        name,
        len(members),
        elements,
        members[0],
        frozenset(map(int, indices)),
    )
