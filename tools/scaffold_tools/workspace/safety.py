"""Which paths a plan may touch: inside the root, through no symbolic link, in no version-control folder."""

from __future__ import annotations

import os
import stat
import subprocess
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from scaffold_tools.errors import Refused

_FORBIDDEN = frozenset({".git", ".hg", ".svn", ".jj", ".bzr"})


def check_path(path: str) -> PurePosixPath:
    """The parts of a relative path that cannot leave its root.

    Raises:
        Refused: absolute, empty, with `..`, a backslash, a control character, or inside a version-control folder.
    """
    pure = PurePosixPath(path)
    parts = path.split("/")
    if pure.is_absolute() or not path or any(part in ("", ".", "..") for part in parts):
        raise Refused(f"{path!r} is not a plain relative path inside the root")
    if not path.isprintable() or "\\" in path:
        raise Refused(f"{path!r} has a character that file names here do not have")
    for part in parts:
        if _folded(part).rstrip(". ").split(":")[0] in _FORBIDDEN or part.lower().startswith("git~"):
            raise Refused(f"{path!r} is inside a version-control folder")
    return pure


def check_collisions(paths: Iterable[str]) -> None:
    """Refuse two paths that one file system may take for the same file, or a file that is a folder of another.

    Raises:
        Refused: such a pair.
    """
    seen: dict[str, str] = {}
    for path in paths:
        other = seen.setdefault(_folded(path), path)
        if other is not path:
            raise Refused(f"{path!r} and {other!r} are the same file where case does not count")
    for folded, path in seen.items():
        for parent in PurePosixPath(folded).parents:
            if str(parent) in seen:
                raise Refused(f"{seen[str(parent)]!r} is planned as a file and as the folder of {path!r}")


def check_on_disk(root: Path, path: str) -> None:
    """Refuse what only the tree itself can tell: links, files in the way, names that differ in case alone.

    Raises:
        Refused: the path goes through a link or a file, is not a regular file, is read-only, or collides in case.
    """
    place, parts = root, check_path(path).parts
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        _check_case(place, part, path)
        place = place / part
        try:
            found = os.lstat(place)
        except FileNotFoundError:
            return
        except OSError as error:
            raise Refused(f"{path!r} cannot be used: {error.strerror}") from error
        if stat.S_ISLNK(found.st_mode):
            raise Refused(f"{path!r} goes through the symbolic link {place.relative_to(root).as_posix()!r}")
        if last:
            _check_target(found, path)
        elif not stat.S_ISDIR(found.st_mode):
            raise Refused(f"{path!r} needs a folder where {place.relative_to(root).as_posix()!r} is a file")


def _check_target(found: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise Refused(f"{path!r} exists and is not a regular file")
    if not found.st_mode & stat.S_IWUSR:
        raise Refused(f"{path!r} is read-only", hint=f"chmod u+w {path}")


def _check_case(folder: Path, name: str, path: str) -> None:
    try:
        twins = [entry for entry in os.listdir(folder) if entry != name and _folded(entry) == _folded(name)]
    except OSError:
        return
    if twins and not (folder / name).exists():
        raise Refused(f"{path!r} differs only in case from {twins[0]!r}, which exists")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def dirty_paths(root: Path, paths: Sequence[str]) -> tuple[str, ...]:
    """Those of `paths` that git calls modified or untracked; empty where there is no git work tree."""
    if not paths or not root.is_dir():
        return ()
    command = ["git", "--literal-pathspecs", "-c", "core.fsmonitor=false", "-C", str(root), "status", "--porcelain=v1"]
    command += ["-z", "--untracked-files=all", "--ignore-submodules=all", "--no-renames", "--", *paths]
    try:
        done = subprocess.run(command, capture_output=True, check=False, env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"})
        top = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--show-prefix"], capture_output=True, check=False
        ).stdout.decode("utf-8", "surrogateescape").rstrip("\n")  # fmt: skip
    except OSError:
        return ()
    if done.returncode:
        return ()
    rows = [row[3:] for row in done.stdout.decode("utf-8", "surrogateescape").split("\0") if len(row) > 3]
    return tuple(row.removeprefix(top) for row in rows)
