"""A tree as it would be without what was generated into it: what a new plan has to be made against.

Planning against the tree itself would see yesterday's output as somebody else's: a bridge that is registered, exports
that are there. The shadow is a folder of links; only the files of the record differ.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from scaffold_tools.workspace import record as records
from scaffold_tools.workspace.applying import taken_out
from scaffold_tools.workspace.record import Entry, Record

_WHOLE = (".git", "pyvenv.cfg", "CACHEDIR.TAG")
"""A folder below the root that holds one of these is somebody else's (a submodule, an environment): linked whole."""


@contextmanager
def shadow(root: Path, record: Record, record_dir: Path) -> Iterator[Path]:
    """A folder that reads like `root` without the entries of `record`; gone when the block ends.

    Raises:
        BadInput: a blob of the record is gone or damaged.
    """
    real = Path(os.path.realpath(root))
    changed = {entry.path: _without_us(entry, real, record_dir) for entry in record.entries}
    with tempfile.TemporaryDirectory(prefix="scaffold-shadow-") as folder:
        place = Path(folder) / (real.name or "root")
        place.mkdir()
        _mirror(real, place, changed)
        for path, content in changed.items():
            if content is not None:
                (place / path).parent.mkdir(parents=True, exist_ok=True)
                (place / path).write_bytes(content)
        _drop_made(place, record)
        yield place


def _without_us(entry: Entry, root: Path, record_dir: Path) -> bytes | None:
    if entry.before_sha256 is None:
        return None
    try:
        current = (root / entry.path).read_bytes()
    except OSError:
        return None
    without = taken_out(entry, current, record_dir) if entry.edited else None
    if without is not None:
        return without
    return current if entry.edited else records.read_blob(record_dir, entry.before_sha256)


def _mirror(root: Path, place: Path, changed: Mapping[str, object]) -> None:
    for folder, names, files in os.walk(root):
        here = Path(folder)
        there = place / here.relative_to(root)
        for name in list(names):
            inner = here / name
            whole = name == ".git" or inner.is_symlink() or any((inner / mark).exists() for mark in _WHOLE)
            if whole:
                names.remove(name)
                (there / name).symlink_to(inner, target_is_directory=True)
            else:
                (there / name).mkdir()
        for name in files:
            if (here / name).relative_to(root).as_posix() not in changed:
                (there / name).symlink_to(here / name)


def _drop_made(place: Path, record: Record) -> None:
    """Folders that we made are not there without us, unless somebody put files into them."""
    for path in sorted(record.made_dirs, key=lambda path: path.count("/"), reverse=True):
        folder = place / path
        if path != "." and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
