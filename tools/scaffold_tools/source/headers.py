"""Safetensors headers: names, shapes and dtypes of a checkpoint without its weights.

The format: 8 bytes little-endian header length, a JSON header `{name: {dtype, shape, data_offsets}}`, then the data.
The Rust loader rejects offsets that leave holes or overlap; Python's `json` would accept those, duplicate keys and
names with control characters, so everything is checked here before it is believed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from scaffold_tools.errors import BadInput
from scaffold_tools.source.config_json import decode_utf8, load_json, read_bytes
from scaffold_tools.source.inventory import TensorInfo, TensorTable
from scaffold_tools.source.trust import check_file_name, check_tensor_name, is_printable

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
MAX_HEADER_BYTES = 100_000_000
"""The limit of the Rust loader; a larger header cannot be loaded by anyone."""
MAX_INDEX_BYTES = 64 * 1024 * 1024
"""Kimi K2, with 384 experts in 61 layers, is about 17 MB."""
MAX_SHARDS = 2000
_THREADS = 8

DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
"""Bits an element, by the safetensors spelling."""


class Files(Protocol):
    """A repository or folder that can be read in pieces."""

    names: tuple[str, ...]

    def read(self, name: str, *, limit: int) -> bytes:
        """The whole file, refused when larger than `limit` bytes."""

    def read_head(self, name: str, start: int, stop: int) -> tuple[bytes, int | None]:
        """Bytes `start:stop` (fewer at the end of the file) and the size of the file where it is known."""

    def where(self, name: str) -> str:
        """The file as error messages name it."""


class Folder:
    """A local folder. Links are followed: a hub cache snapshot consists of them.

    Raises:
        BadInput: it cannot be listed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            names = sorted(entry.name for entry in os.scandir(root))
        except OSError as error:
            raise BadInput(f"cannot read the folder {root}: {error.strerror or error}") from error
        self.names = tuple(filter(is_printable, names))  # the rest could not even be written as JSON

    def where(self, name: str) -> str:
        """See `Files`."""
        return str(self.root / name)

    def read(self, name: str, *, limit: int) -> bytes:
        """See `Files`."""
        return read_bytes(self.root / name, limit=limit, what=self.where(name))

    def read_head(self, name: str, start: int, stop: int) -> tuple[bytes, int | None]:
        """See `Files`."""
        path = self.root / name
        try:
            if not path.is_file():
                raise BadInput(f"{self.where(name)} is not a regular file")
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(start)
                return file.read(stop - start), size
        except OSError as error:
            raise BadInput(f"cannot read {self.where(name)}: {error.strerror or error}") from error


def read_table(files: Files) -> TensorTable | None:
    """The tensor table of a checkpoint, or None when it has neither `model.safetensors` nor its index.

    Raises:
        BadInput: the index or a header breaks a rule of this module; the message names file and rule.
    """
    if SINGLE_FILE in files.names:
        tensors = read_header(files, SINGLE_FILE, _FIRST_READ)
    elif INDEX_FILE in files.names:
        tensors = _read_sharded(files)
    else:
        return None
    return TensorTable(tensors=tensors, origin="headers")


# 97% of the thousand most used safetensors files have a header below this (huggingface_hub measured it).
_FIRST_READ = 100_000


def read_header(files: Files, name: str, first_read: int = _FIRST_READ) -> tuple[TensorInfo, ...]:
    """The tensors of one safetensors file, in the order of their data.

    Raises:
        BadInput: see `parse_header`; also a header length that is zero, too large or beyond the end of the file.
    """
    where = files.where(name)
    head, size = files.read_head(name, 0, first_read)
    length = int.from_bytes(head[:8], "little")
    if len(head) < 8 or head[8:9] != b"{":
        raise BadInput(f"{where} is not a safetensors file", hint="a Git LFS pointer? fetch the real file")
    if length > MAX_HEADER_BYTES:
        raise BadInput(f"{where} declares a header of {length:,} bytes; at most {MAX_HEADER_BYTES:,} can be loaded")
    if size is not None and 8 + length > size:
        raise BadInput(f"{where} ends inside its header", hint="the file is cut off")
    if len(head) < 8 + length:
        head += files.read_head(name, len(head), 8 + length)[0]
    header = head[8 : 8 + length]
    if len(header) < length:
        raise BadInput(f"{where} ends inside its header", hint="the file is cut off")
    return parse_header(header, where=where, shard=name, data_bytes=None if size is None else size - 8 - length)


def parse_header(header: bytes, *, where: str, shard: str | None, data_bytes: int | None) -> tuple[TensorInfo, ...]:
    """Check a header against every rule of the format.

    Args:
        data_bytes: how many bytes follow the header; None when that is not known.

    Raises:
        BadInput: not a JSON object, unknown dtype, wrong shape, offsets that do not cover the data exactly once,
            a name twice or with control characters.
    """
    document = load_json(decode_utf8(header, where), f"the header of {where}")
    if not isinstance(document, dict):
        raise BadInput(f"the header of {where} is not a JSON object")
    document.pop("__metadata__", None)
    rows = sorted((_read_entry(name, entry, where) for name, entry in document.items()), key=lambda row: row[:2])
    end = 0
    for start, stop, name, _, _ in rows:
        if start != end:
            raise BadInput(f"{where}: the data of {name!r} starts at {start}, the data before it ends at {end}")
        end = stop
    if data_bytes is not None and end != data_bytes:
        raise BadInput(f"{where}: the header describes {end:,} bytes of data, the file has {data_bytes:,}")
    return tuple(TensorInfo(name=name, shape=shape, dtype=dtype, shard=shard) for _, _, name, shape, dtype in rows)


def _read_entry(name: str, entry: Any, where: str) -> tuple[int, int, str, tuple[int, ...], str]:
    check_tensor_name(name, where)
    fields: dict[str, Any] = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = fields.get("dtype"), fields.get("shape"), fields.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise BadInput(f"{where}: {name!r} has the unknown dtype {str(dtype)[:40]!r}")
    if shape is None or not _counts(shape):
        raise BadInput(f"{where}: {name!r} has no valid shape")
    if offsets is None or not _counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise BadInput(f"{where}: {name!r} has no valid data_offsets")
    bits = DTYPE_BITS[dtype]
    for extent in shape:
        bits *= extent
    if bits != 8 * (offsets[1] - offsets[0]):
        raise BadInput(f"{where}: {name!r} of {dtype} {tuple(shape)} needs {bits // 8:,} bytes, its offsets differ")
    return offsets[0], offsets[1], name, tuple(shape), dtype


def _counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)


def _read_sharded(files: Files) -> tuple[TensorInfo, ...]:
    weight_map = read_weight_map(files)
    shards = sorted(set(weight_map.values()))
    missing = [shard for shard in shards if "/" not in shard and shard not in files.names]
    if missing:
        raise BadInput(
            f"{files.where(INDEX_FILE)} names {len(missing)} shards that are not there, the first {missing[0]!r}",
            hint="fetch the missing files, or give the config.json alone to derive the table from the class",
        )
    by_shard = dict(zip(shards, in_threads(lambda shard: read_header(files, shard), shards), strict=True))
    tensors = [
        tensor
        for shard, rows in by_shard.items()
        for tensor in rows
        # A tensor that the index does not name is loaded all the same; one in two shards is loaded from the named one.
        if weight_map.get(tensor.name, shard) == shard
    ]
    found = {tensor.name for tensor in tensors}
    lost = next((name for name in weight_map if name not in found), None)
    if lost is not None:
        raise BadInput(f"{files.where(weight_map[lost])} has no tensor {lost!r}, which the index says it has")
    if len(found) != len(tensors):
        raise BadInput(f"{files.where(INDEX_FILE)}: a tensor that the index does not name is in two shards")
    return tuple(tensors)


def read_weight_map(files: Files) -> dict[str, str]:
    """`weight_map` of the sharded index: tensor name to file name, both checked.

    Raises:
        BadInput: it is not there, empty, or a name in it leaves the repository.
    """
    where = files.where(INDEX_FILE)
    index = load_json(decode_utf8(files.read(INDEX_FILE, limit=MAX_INDEX_BYTES), where), where)
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise BadInput(f"{where} has no weight_map")
    for shard in set(map(str, weight_map.values())):
        check_file_name(shard, where)
    if len(set(map(str, weight_map.values()))) > MAX_SHARDS:
        raise BadInput(f"{where} names more than {MAX_SHARDS} shards")
    return {check_tensor_name(name, where): check_file_name(shard, where) for name, shard in weight_map.items()}


def in_threads[Item, Result](work: Callable[[Item], Result], items: list[Item]) -> list[Result]:
    """`map`, some at a time; the first error cancels what has not started."""
    if len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(max_workers=min(_THREADS, len(items))) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
