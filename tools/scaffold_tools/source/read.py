"""LINK to Inventory: the one function of this package that the pipeline calls."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaffold_tools.errors import BadInput
from scaffold_tools.source.config_json import MAX_CONFIG_BYTES, parse_config, read_bytes
from scaffold_tools.source.headers import INDEX_FILE, SINGLE_FILE, Files, Folder, read_table
from scaffold_tools.source.inventory import Inventory, Source, TensorTable
from scaffold_tools.source.link import Link, parse_link
from scaffold_tools.source.saved import make_table, read_saved
from scaffold_tools.source.trust import check_config_names

DeriveTable = Callable[[dict[str, Any]], dict[str, Any]]
"""Runs the `tensor_table` job of the harness on a request and returns its answer."""

_PICKLED = re.compile(r".*\.(bin|pt|pth|ckpt|h5|msgpack)", re.IGNORECASE)
_ADAPTER = "adapter_config.json"


@dataclass(frozen=True)
class _Opened:
    """A link that was found: what it is, and its files (None for a bare config.json)."""

    source: Source
    config: dict[str, Any]
    files: Files | None
    notes: tuple[str, ...]


def read_inventory(
    link: str,
    *,
    token: str | None = None,
    derive_table: DeriveTable | None = None,
    trust_remote_code: bool = False,
    on_progress: Callable[[str], None] | None = None,
) -> Inventory:
    """Read config.json and the tensor table of a model; no weights, and no code of the model unless trusted.

    The table comes from safetensors headers; else from a saved `tensors.json` in the folder; else, when `derive_table`
    is given, from the class that transformers has; else it is None. A note says which, unless it was the headers.

    Args:
        token: for private and gated repositories; default is the user's own (HF_TOKEN, `hf auth login`).
        derive_table: e.g. `lambda request: session.call("tensor_table", request)`.
        trust_remote_code: lets that job run the model's own Python files from a local folder.
        on_progress: told in one line what takes long: a hub that has to be asked again, deriving a table.

    Raises:
        BadInput: the link, the repository, config.json or a header is unusable. EnvironmentLacks: the hub cannot be
            reached. Refused: the hub redirects to an unencrypted address.
    """
    opened = _open(parse_link(link), token, on_progress)
    check_config_names(opened.config)
    notes = list(opened.notes)
    table = None
    if opened.files is not None:
        table = read_table(opened.files)
        if table is None and isinstance(opened.files, Folder):
            table = read_saved(opened.files)
            if table is not None:
                notes.append(f"the tensor table was read from a saved tensors.json (origin: {table.origin})")
    if table is None:
        reason = _why_no_headers(opened.files)
        if derive_table is not None:
            if on_progress is not None:
                on_progress("deriving the tensor table from the class that transformers has")
            table = _derive(opened, derive_table, trust_remote_code, notes)
            notes.append(f"{reason}: the tensor table was derived from the class that transformers has, not read")
        else:
            notes.append(f"{reason}: there is no tensor table")
    quantization = _optional(opened.files, "hf_quant_config.json", notes)
    if quantization is not None and table is not None and table.origin == "transformers-class":
        notes.append("hf_quant_config.json says the checkpoint is quantised: it has other tensors than the class")
    return Inventory(
        source=opened.source,
        config=opened.config,
        tensors=table,
        generation_config=_optional(opened.files, "generation_config.json", notes),
        quantization=quantization,
        files=() if opened.files is None else opened.files.names,
        notes=tuple(notes),
    )


def _open(link: Link, token: str | None, on_progress: Callable[[str], None] | None) -> _Opened:
    if link.kind == "hub":
        return _open_hub(link, token, on_progress)
    assert link.path is not None
    if link.kind == "folder":
        return _open_files(link, Folder(link.path), None, ())
    config = parse_config(read_bytes(link.path, limit=MAX_CONFIG_BYTES, what=str(link.path)), where=f"{link.path}")
    source = Source(link=link.text, kind="config", name=link.name, path=str(link.path))
    beside = [name for name in (SINGLE_FILE, INDEX_FILE) if (link.path.parent / name).exists()]
    notes = (f"{beside[0]} beside it was not read: give the folder for that",) if beside else ()
    return _Opened(source, config, None, notes)


def _open_hub(link: Link, token: str | None, on_progress: Callable[[str], None] | None) -> _Opened:
    from scaffold_tools.source.hub import Hub

    assert link.endpoint is not None
    files = Hub(link.endpoint, token=token, on_progress=on_progress).pin(link.name, link.revision)
    return _open_files(link, files, files.revision, files.notes)


def _open_files(link: Link, files: Files, revision: str | None, notes: tuple[str, ...]) -> _Opened:
    if "config.json" not in files.names:
        raise _no_config(link, files.names)
    where = files.where("config.json")
    config = parse_config(files.read("config.json", limit=MAX_CONFIG_BYTES), where=where)
    path = None if link.path is None else str(link.path)
    endpoint = link.endpoint if link.kind == "hub" else None
    source = Source(link.text, link.kind, link.name, revision=revision, endpoint=endpoint, path=path)
    return _Opened(source, config, files, notes)


# What a place without config.json is, by its files: (predicate, what it is, the way out). The first that holds.
_OTHER_PLACES: tuple[tuple[Callable[[tuple[str, ...]], bool], str, str], ...] = (
    (
        lambda names: any(name.lower().endswith(".gguf") for name in names),
        "has only GGUF files, which are converted from a model",
        "give the original model; its card names it as base_model",
    ),
    (lambda names: _ADAPTER in names, "is an adapter (LoRA), not a model", "give the base model that it names"),
    (lambda names: "model_index.json" in names, "is a diffusers pipeline, not a language model", "give a model"),
    (
        lambda names: "params.json" in names,
        "has the original format (params.json) without a config.json",
        "give the repository in Hugging Face format",
    ),
    (lambda names: not names, "is empty", "give a model"),
    (lambda names: True, "has no config.json", "give the repository or folder that has one"),
)


def _no_config(link: Link, names: tuple[str, ...]) -> BadInput:
    _, what, way = next(row for row in _OTHER_PLACES if row[0](names))
    return BadInput(f"{link.text} {what}", hint=way)


def _why_no_headers(files: Files | None) -> str:
    if files is None:
        return "a config.json alone was given"
    pickled = next((name for name in files.names if _PICKLED.fullmatch(name)), None)
    if pickled is not None:
        return f"there are no safetensors, and {pickled} cannot be read without running it"
    return "there are no safetensors"


def _optional(files: Files | None, name: str, notes: list[str]) -> dict[str, Any] | None:
    if files is None or name not in files.names:
        return None
    try:
        return parse_config(files.read(name, limit=MAX_CONFIG_BYTES), where=files.where(name))
    except BadInput as error:  # nothing later depends on it
        notes.append(f"not used: {error}")
        return None


def _derive(opened: _Opened, derive_table: DeriveTable, trust_remote_code: bool, notes: list[str]) -> TensorTable:
    architectures = opened.config.get("architectures") or [None]
    folder = opened.source.path if opened.source.kind == "folder" else None
    answer = derive_table(
        {
            "config": opened.config,
            "architecture": architectures[0],
            "trust_remote_code": trust_remote_code,
            "model_folder": None if folder is None else str(Path(folder).resolve()),
        }
    )
    if answer.get("problem"):
        raise BadInput(str(answer["problem"]), hint=str(answer["hint"]) if answer.get("hint") else None)
    notes.extend(str(note) for note in answer.get("notes", ()))
    return make_table(answer["tensors"], where="the derived table", origin="transformers-class")
