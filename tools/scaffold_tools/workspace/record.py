"""What was applied, kept in the run folder: enough to undo it, to update it, and to say where it came from."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scaffold_tools import jsonio
from scaffold_tools.errors import BadInput
from scaffold_tools.workspace.transaction import sha256, write_durably

RECORD = "applied.json"
PENDING = "applied.json.pending"
UNDONE = "undone.json"


@dataclass(frozen=True)
class Entry:
    """One file that was written."""

    path: str
    before_sha256: str | None
    """None for a file that was not there."""
    before_mode: int | None
    after_sha256: str
    """What the file held after the last apply or update: after a merge, the user's lines too."""
    after_mode: int
    generated_sha256: str | None = None
    """What was generated last, where a merge made the file differ from it."""
    edited: bool = False
    """Somebody else's file with an edit of ours, rather than a file of ours whole."""

    @property
    def base_sha256(self) -> str:
        """What was generated last: the base of the next merge, and what undo takes out."""
        return self.generated_sha256 or self.after_sha256


@dataclass(frozen=True)
class Record:
    """Provenance and the way back; the bytes lie beside it in `blobs/<sha256>`."""

    tool_version: str
    applied_at: str
    """UTC, ISO 8601."""
    root: str
    target: str
    package: str
    inputs: dict[str, str]
    """Where the model came from: link, commit, ..."""
    entries: tuple[Entry, ...]
    made_dirs: tuple[str, ...] = ()
    """Folders that did not exist before; `.` is the root."""
    schema: int = field(default=1)

    def entry(self, path: str) -> Entry | None:
        """The entry of one path, or None."""
        return next((entry for entry in self.entries if entry.path == path), None)


def read_record(record_dir: Path) -> Record | None:
    """The record in a run folder, or None when nothing is applied.

    Raises:
        BadInput: it is there and not readable as a record.
    """
    try:
        text = (record_dir / RECORD).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{record_dir / RECORD} cannot be read: {error}") from error
    return jsonio.loads(Record, text, where=str(record_dir / RECORD))


def write_pending(record_dir: Path, record: Record) -> tuple[Path, Path]:
    """Write the record beside its place; returns the rename that makes it valid, a part of the transaction."""
    write_durably(record_dir / PENDING, jsonio.dumps(record).encode("utf-8"))
    return record_dir / PENDING, record_dir / RECORD


def keep_blob(record_dir: Path, content: bytes) -> str:
    """Store bytes by their hash, once."""
    name = sha256(content)
    folder = record_dir / "blobs"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / name).is_file() or sha256((folder / name).read_bytes()) != name:
        write_durably(folder / name, content)
    return name


def read_blob(record_dir: Path, name: str) -> bytes:
    """Bytes stored by `keep_blob`, checked against their hash.

    Raises:
        BadInput: they are gone or damaged.
    """
    place = record_dir / "blobs" / name
    try:
        if len(name) != 64 or not name.isalnum():
            raise BadInput(f"{name!r} is not a hash")
        content = place.read_bytes()
    except OSError as error:
        raise BadInput(f"{place} is needed to undo and cannot be read: {error.strerror}") from error
    if sha256(content) != name:
        raise BadInput(f"{place} is damaged: its content does not have the hash of its name")
    return content


def utc_now() -> str:
    """The time for `applied_at`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def tool_version() -> str:
    """The installed version of this tool."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("scaffold-models")
    except PackageNotFoundError:
        return "unknown"


def clean_inputs(inputs: Mapping[str, str] | None) -> dict[str, str]:
    """Inputs as plain strings, since they end up in a file that people read."""
    return {str(key): str(value) for key, value in (inputs or {}).items()}
