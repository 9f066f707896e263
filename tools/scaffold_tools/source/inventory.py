"""What was read of a model: where it came from, its config.json and its table of tensors. No weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Source:
    """A pinned place to read a model from."""

    link: str
    """What the user typed."""
    kind: Literal["hub", "folder", "config"]
    name: str
    """`org/name` on the hub, else the name of the folder or file; used for the run folder, never for decisions."""
    revision: str | None = None
    """The 40-hex commit that everything is read at; None when the source is local."""
    endpoint: str | None = None
    path: str | None = None
    """The local folder or file; None on the hub."""


@dataclass(frozen=True)
class TensorInfo:
    """One tensor as its safetensors header describes it."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    """The safetensors spelling: F32, BF16, F8_E4M3, U8, ..."""
    shard: str | None = None


@dataclass(frozen=True)
class TensorTable:
    """All tensors of a checkpoint, by on-disk name."""

    tensors: tuple[TensorInfo, ...]
    origin: Literal["headers", "transformers-class"]
    """`headers`: read from the checkpoint. `transformers-class`: derived from the class that transformers has."""


@dataclass(frozen=True)
class Inventory:
    """Everything later stages may know of the model before any code runs."""

    source: Source
    config: dict[str, Any]
    """config.json as it is on disk: raw JSON, never passed through a library that may run code."""
    tensors: TensorTable | None
    generation_config: dict[str, Any] | None = None
    quantization: dict[str, Any] | None = None
    """hf_quant_config.json, where the repository has one."""
    files: tuple[str, ...] = ()
    """All file names of the repository or folder (hostile data: never joined to a path unchecked)."""
    notes: tuple[str, ...] = field(default=())
    """What a reader must know, e.g. that the tensor table was derived and not read."""
