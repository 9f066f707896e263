"""Checkpoints of real size that cost no disk: real safetensors headers, data left as a hole in the file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "U8": 1, "I8": 1}

Tensor = tuple[str, str, tuple[int, ...]]
"""Name, safetensors dtype, shape."""


def write_sparse_safetensors(path: Path, tensors: Iterable[Tensor]) -> int:
    """Write one file whose header describes `tensors` and whose data is a hole. Returns the data size in bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, dtype, shape in tensors:
        end = offset + _BYTES[dtype] * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        file.truncate(8 + len(encoded) + offset)
    return offset


def write_sparse_checkpoint(folder: Path, config: dict[str, Any], tensors: list[Tensor], *, shards: int = 2) -> Path:
    """A model folder with config.json and a sharded index, as `save_pretrained` lays it out."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    weight_map: dict[str, str] = {}
    total = 0
    for number in range(shards):
        file_name = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        part = tensors[number::shards]
        total += write_sparse_safetensors(folder / file_name, part)
        weight_map.update({name: file_name for name, _, _ in part})
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder
