"""Several files changed as one: stage, journal, then a detached process that nothing stops halfway (`finisher`)."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from scaffold_tools.errors import EnvironmentLacks, Refused, ScaffoldError
from scaffold_tools.workspace import finisher
from scaffold_tools.workspace.lock import tree_lock

_JOURNAL = "scaffold-apply"


@dataclass(frozen=True)
class Step:
    """One file of a change."""

    path: str
    content: bytes | None
    """What it will hold; None removes it."""
    expected: bytes | None
    """What it holds now; None when it must not exist."""
    mode: int | None = None
    """Permission bits; None keeps those of the file, or takes the user's default for a new one."""


@dataclass(frozen=True)
class Tree:
    """A root whose lock is held."""

    root: Path
    lock: int
    recovered: str | None
    """How an interrupted change was brought to its end on opening: "completed", "rolled back", or None."""


def sha256(content: bytes) -> str:
    """Hex digest, as everywhere in plans and records."""
    return hashlib.sha256(content).hexdigest()


@contextmanager
def open_tree(root: Path) -> Iterator[Tree]:
    """Lock a root and finish what a crash may have left there.

    Raises:
        Refused: the root is no folder, or another process holds it.
    """
    real = Path(os.path.realpath(root))
    if real.exists() and not real.is_dir():
        raise Refused(f"{root} is not a folder")
    with tree_lock(real) as lock:
        try:
            outcomes = [finisher.recover(str(place)) for place in _journal_places(real)]
        except OSError as error:
            raise ScaffoldError(f"an interrupted change to {root} cannot be finished: {error}") from error
        yield Tree(real, lock, next((outcome for outcome in outcomes if outcome), None))


def recover(root: Path) -> str | None:
    """Finish or take back what a crash of the machine left half done; waits for a change that is still running.

    Returns:
        "completed", "rolled back", or None when there was nothing to do.
    """
    with open_tree(root) as tree:
        return tree.recovered


def run(
    tree: Tree,
    steps: Sequence[Step],
    *,
    remove_dirs: Sequence[str] = (),
    record: Sequence[tuple[Path, Path]] = (),
) -> None:
    """Carry out all steps, or none.

    Args:
        tree: the locked root.
        steps: files to write and remove; paths are already checked.
        remove_dirs: folders to remove afterwards, where they are empty.
        record: renames (from, to) that belong to the change, outside the tree.

    Raises:
        Refused: a file changed in the meantime.
        EnvironmentLacks: the disk is full.
        ScaffoldError: the file system refused; the tree is as it was.
    """
    journal = _journal_home(tree.root)
    try:
        _stage(tree.root, journal, steps, remove_dirs, record)
    except BaseException as error:
        shutil.rmtree(journal, ignore_errors=True)
        if isinstance(error, OSError):
            raise explained(error, tree.root) from error
        raise
    _hand_over(journal, tree)


def missing_folders(root: Path, paths: Sequence[str]) -> tuple[str, ...]:
    """Folders that writing `paths` makes, `.` for the root itself."""
    parents = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
    return tuple(sorted(parent for parent in parents if not (root / parent).is_dir()))


def _journal_places(root: Path) -> tuple[Path, ...]:
    """Where a journal of this root can be, best first: on the same file system, and out of sight."""
    return (root / ".git" / _JOURNAL, root.parent / f".{root.name}.{_JOURNAL}", root / f".{_JOURNAL}")


def _journal_home(root: Path) -> Path:
    root.parent.mkdir(parents=True, exist_ok=True)
    in_git, beside, inside = _journal_places(root)
    device = os.stat(root if root.exists() else root.parent).st_dev
    for place in (in_git, beside):
        folder = place.parent
        usable = folder.is_dir() and not folder.is_symlink() and os.access(folder, os.W_OK)
        if usable and os.stat(folder).st_dev == device:
            return place
    return inside


def _stage(
    root: Path,
    journal: Path,
    steps: Sequence[Step],
    remove_dirs: Sequence[str],
    record: Sequence[tuple[Path, Path]],
) -> None:
    for folder in (journal, journal / "new", journal / "old"):
        folder.mkdir(mode=0o700)
    items = [_stage_one(root, journal, index, step) for index, step in enumerate(steps)]
    work = {
        "root": str(root),
        "items": items,
        "make_dirs": missing_folders(root, [step.path for step in steps if step.content is not None]),
        "remove_dirs": list(remove_dirs),
        "record": [[str(source), str(destination)] for source, destination in record],
    }
    for folder in (journal / "new", journal / "old"):
        finisher.sync_folder(str(folder))
    write_durably(journal / "journal.tmp", json.dumps(work).encode())
    os.rename(journal / "journal.tmp", journal / "journal.json")
    finisher.sync_folder(str(journal))


def _stage_one(root: Path, journal: Path, index: int, step: Step) -> dict[str, Any]:
    target = root / step.path
    mode = step.mode
    if step.expected is not None:
        mode = os.lstat(target).st_mode & 0o7777 if mode is None else mode
        old = journal / "old" / str(index)
        try:
            os.link(target, old, follow_symlinks=False)
        except OSError:
            shutil.copy2(target, old, follow_symlinks=False)
    if step.content is not None:
        new = journal / "new" / str(index)
        write_durably(new, step.content)
        if mode is not None:
            os.chmod(new, mode)
    return {
        "path": step.path,
        "action": "remove" if step.content is None else "put",
        "expected": None if step.expected is None else sha256(step.expected),
        "after": None if step.content is None else sha256(step.content),
    }


def write_durably(path: Path, content: bytes) -> None:
    """Write a new file and wait for the disk; a power cut cannot leave it empty."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o666)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _hand_over(journal: Path, tree: Tree) -> None:
    """Start the finisher in a session of its own and wait; an interrupt is kept until it is done."""
    command = [sys.executable, "-I", "-S", str(Path(finisher.__file__)), str(journal)]
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/",
            start_new_session=True, pass_fds=(tree.lock,),
        )  # fmt: skip
    except OSError as error:
        finisher.recover(str(journal))
        raise explained(error, tree.root) from error
    interrupted: BaseException | None = None
    while True:
        try:
            output, _ = process.communicate()
            break
        except KeyboardInterrupt as error:
            interrupted = error
    if process.returncode:
        with contextlib.suppress(OSError):
            finisher.recover(str(journal))
        why = output.decode("utf-8", "replace") or f"the process that changes files ended with {process.returncode}"
        kind = Refused if why.startswith("Precondition") else ScaffoldError
        raise kind(f"nothing was changed in {tree.root}: {why}")
    if interrupted is not None:
        raise interrupted


def explained(error: OSError, root: Path) -> ScaffoldError:
    """What an OSError before the commit means for the user."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return EnvironmentLacks(f"no space to write at {root}; nothing was changed", hint="free some disk space")
    return ScaffoldError(f"{root} cannot be written: {error.strerror or error}; nothing was changed")
