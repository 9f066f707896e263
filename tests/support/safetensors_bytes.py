"""Safetensors files as bytes, right ones and wrong ones, without torch."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

_BYTES = {"F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "U8": 1, "I64": 8}


def safetensors_bytes(tensors: dict[str, tuple[str, tuple[int, ...]]], *, padding: int = 0) -> bytes:
    """A whole file of zeros: `{name: (dtype, shape)}`; `padding` spaces lengthen the header."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + _BYTES[dtype] * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    return with_header(json.dumps(header).encode() + b" " * padding, end)


def with_header(header: bytes, data: int = 0) -> bytes:
    """A file with this header, right or wrong, and `data` zero bytes."""
    return struct.pack("<Q", len(header)) + header + bytes(data)


def sharded(shards: list[dict[str, tuple[str, tuple[int, ...]]]]) -> dict[str, bytes]:
    """Shard files and their index, named as `save_pretrained` names them."""
    names = [f"model-{index + 1:05d}-of-{len(shards):05d}.safetensors" for index in range(len(shards))]
    weight_map = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
    files = {name: safetensors_bytes(shard) for name, shard in zip(names, shards, strict=True)}
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    return files | {"model.safetensors.index.json": json.dumps(index).encode()}
