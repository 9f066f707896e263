"""The part of a change to a tree that nothing may stop halfway: a process of its own, out of reach of signals.

Run as a script in a session of its own it needs the standard library alone. A journal folder holds the new files
(`new/<i>`), hard links or copies of the old ones (`old/<i>`) and `journal.json`. The steps:

    journal.json   everything is staged; the tree is untouched. A crash here rolls back: the folder is thrown away.
    commit         written once every precondition held; from here a crash rolls forward.
    (renames)      each one is atomic and may be repeated.
    abort          a rename failed; from here a crash goes on putting things back.
    folder gone    done, or put back.

Paths are walked by folder descriptors that follow no link, so nobody can slip a link in between check and rename.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import stat
import sys
from collections.abc import Iterator
from typing import Any


class Precondition(Exception):
    """The tree is not what the journal was made for; nothing was touched."""


def finish(journal: str) -> None:
    """Carry out a journal whole, or leave the tree as it was.

    Raises:
        Precondition: a file changed since the journal was made.
        OSError: a rename failed; what had been renamed was put back.
    """
    work = _load(journal)
    committed = os.path.exists(os.path.join(journal, "commit"))
    try:
        _check(journal, work)
        if not committed:
            _touch(os.path.join(journal, "commit"))
        committed = True
        _forward(journal, work)
    except BaseException:
        if committed:
            _touch(os.path.join(journal, "abort"))
            _backward(journal, work)
        _discard(journal)
        raise
    _discard(journal)


def recover(journal: str) -> str | None:
    """Bring an interrupted journal to an end: "completed", "rolled back", or None when there is none."""
    if not os.path.isdir(journal):
        return None
    if not os.path.exists(os.path.join(journal, "journal.json")):
        shutil.rmtree(journal)  # not yet staged whole, or done and being thrown away
        return None
    if os.path.exists(os.path.join(journal, "commit")) and not os.path.exists(os.path.join(journal, "abort")):
        try:
            finish(journal)
        except Precondition:
            return "rolled back"
        return "completed"
    if os.path.exists(os.path.join(journal, "abort")):
        _backward(journal, _load(journal))
    _discard(journal)
    return "rolled back"


def _load(journal: str) -> dict[str, Any]:
    with open(os.path.join(journal, "journal.json"), encoding="utf-8") as file:
        loaded: dict[str, Any] = json.load(file)
    return loaded


def _touch(path: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    os.fsync(descriptor)
    os.close(descriptor)
    sync_folder(os.path.dirname(path))


def sync_folder(path: str) -> None:
    """Make renames in a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _discard(journal: str) -> None:
    # journal.json goes first: without it `recover` knows that there is nothing left to do but to remove the folder.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(journal, "journal.json"))
    shutil.rmtree(journal, ignore_errors=True)


def _check(journal: str, work: dict[str, Any]) -> None:
    """Every file that is still to be changed is as the journal expects; after a crash somebody may have edited it."""
    for index, item in enumerate(work["items"]):
        if _pending(journal, index, item) and _hash_of(work["root"], item["path"]) != item["expected"]:
            raise Precondition(f"{item['path']} changed while the change was being prepared")


def _pending(journal: str, index: int, item: dict[str, Any]) -> bool:
    if item["action"] == "put":
        return os.path.exists(os.path.join(journal, "new", str(index)))
    return not os.path.exists(os.path.join(journal, "old", f"{index}.gone"))


def _hash_of(root: str, path: str) -> str | None:
    try:
        with _parent(root, path, make=False) as (folder, name):
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


@contextlib.contextmanager
def _parent(root: str, path: str, *, make: bool) -> Iterator[tuple[int, str]]:
    """A descriptor of the folder that holds `path`, and its last part."""
    if make:
        os.makedirs(root, exist_ok=True)
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        *parents, name = path.split("/")
        for part in parents:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=folder)
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder, name
    finally:
        os.close(folder)


def _forward(journal: str, work: dict[str, Any]) -> None:
    for index, item in enumerate(work["items"]):
        if not _pending(journal, index, item):
            continue
        put = item["action"] == "put"
        with _parent(work["root"], item["path"], make=put) as (at, name):
            if put:
                os.replace(os.path.join(journal, "new", str(index)), name, dst_dir_fd=at)
            else:
                os.replace(name, os.path.join(journal, "old", f"{index}.gone"), src_dir_fd=at)
            os.fsync(at)
    _remove_folders(work["root"], work["remove_dirs"])
    for source, destination in work["record"]:
        if os.path.exists(source):
            os.replace(source, destination)
            sync_folder(os.path.dirname(destination))


def _backward(journal: str, work: dict[str, Any]) -> None:
    """Undo a commit that failed: old files return (the very inodes, where links are possible), new ones go.

    May be repeated. A file that somebody changed since stays as it is.
    """
    for index, item in reversed(list(enumerate(work["items"]))):
        if _pending(journal, index, item) or _hash_of(work["root"], item["path"]) != item["after"]:
            continue
        old = os.path.join(journal, "old", str(index) if item["action"] == "put" else f"{index}.gone")
        with contextlib.suppress(OSError), _parent(work["root"], item["path"], make=True) as (at, name):
            if item["expected"] is None:
                os.unlink(name, dir_fd=at)
            elif os.path.exists(old):
                os.replace(old, name, dst_dir_fd=at)
    _remove_folders(work["root"], work["make_dirs"])


def _remove_folders(root: str, folders: list[str]) -> None:
    """Remove those that are empty, deepest first; `.` is the root itself."""
    for path in sorted(folders, key=lambda path: (path != ".", path.count("/")), reverse=True):
        with contextlib.suppress(OSError):
            if path == ".":
                os.rmdir(root)
            elif not stat.S_ISLNK(os.lstat(os.path.join(root, path)).st_mode):
                with _parent(root, path, make=False) as (at, name):
                    os.rmdir(name, dir_fd=at)


def main(journal: str) -> int:
    """Entry of the detached process: 0 done, 1 failed and put back; one line on stdout says why."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    try:
        finish(journal)
    except (Precondition, OSError) as error:
        with contextlib.suppress(OSError):
            os.write(1, f"{type(error).__name__}: {error}".encode("utf-8", "replace"))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
