"""`tensors.json`: a tensor table that was saved beside a config.json, for a model whose weights are not here."""

from __future__ import annotations

import json
from typing import Any

from scaffold_tools.errors import BadInput
from scaffold_tools.source.config_json import decode_utf8, load_json
from scaffold_tools.source.headers import DTYPE_BITS, MAX_INDEX_BYTES, Files
from scaffold_tools.source.inventory import TensorInfo, TensorTable
from scaffold_tools.source.trust import check_tensor_name

SAVED_FILE = "tensors.json"


def read_saved(files: Files) -> TensorTable | None:
    """The saved table (`jsonio.dumps` of a TensorTable), or None when there is none.

    Read by hand and not by `jsonio.loads`, whose validator takes longer to import than `scaffold inspect` may take.

    Raises:
        BadInput: the file is not one.
    """
    if SAVED_FILE not in files.names:
        return None
    where = files.where(SAVED_FILE)
    document = load_json(decode_utf8(files.read(SAVED_FILE, limit=MAX_INDEX_BYTES), where), where)
    origin = document.get("origin") if isinstance(document, dict) else None
    rows = document.get("tensors") if isinstance(document, dict) else None
    if origin not in ("headers", "transformers-class") or not isinstance(rows, list):
        raise BadInput(f"{where} is not a saved tensor table", hint="remove or regenerate it")
    return make_table(rows, where=where, origin=origin)


def save_table(table: TensorTable) -> str:
    """The text of a `tensors.json`: one tensor a line, so that a change of the table is a readable diff."""
    rows = (
        json.dumps({"name": tensor.name, "shape": tensor.shape, "dtype": tensor.dtype, "shard": tensor.shard})
        for tensor in table.tensors
    )
    return '{\n"origin": ' + json.dumps(table.origin) + ',\n"tensors": [\n' + ",\n".join(rows) + "\n]\n}\n"


def make_table(rows: list[Any], *, where: str, origin: Any) -> TensorTable:
    """A table out of `{name, shape, dtype, shard?}` rows that came from a file or a child process.

    Raises:
        BadInput: a row lacks a field or has one of the wrong type, or a name is there twice.
    """
    tensors = tuple(_read_row(row, where) for row in rows)
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise BadInput(f"{where} has a tensor twice")
    return TensorTable(tensors=tensors, origin=origin)


def _read_row(row: Any, where: str) -> TensorInfo:
    fields: dict[str, Any] = row if isinstance(row, dict) else {}
    name, shape, dtype, shard = (fields.get(key) for key in ("name", "shape", "dtype", "shard"))
    shaped = isinstance(shape, list) and all(type(extent) is int and extent >= 0 for extent in shape)
    if (
        not isinstance(name, str)
        or not isinstance(shape, list)
        or not shaped
        or not isinstance(dtype, str)
        or dtype not in DTYPE_BITS
    ):
        raise BadInput(f"{where}: {str(row)[:100]!r} is not a tensor", hint="remove or regenerate it")
    return TensorInfo(
        name=check_tensor_name(name, where),
        shape=tuple(shape),
        dtype=dtype,
        shard=shard if isinstance(shard, str) else None,
    )
