"""Small trees and plans for the workspace tests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from scaffold_tools.workspace import Change, Plan, sha256


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def snapshot(root: Path, *, times: bool = False) -> dict[str, object]:
    """Everything below a root: folders, bytes, modes, links; not the version-control folder."""
    seen: dict[str, object] = {}
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if name != ".git"]
        for name in [*names, *files]:
            path = Path(folder) / name
            info = path.lstat()
            kind: object = os.readlink(path) if path.is_symlink() else "dir" if path.is_dir() else path.read_bytes()
            seen[path.relative_to(root).as_posix()] = (kind, info.st_mode, info.st_mtime_ns if times else 0)
    return seen


def create(path: str, content: str, **options: object) -> Change:
    return Change(path, "create", content, "a test file", **options)  # type: ignore[arg-type]


def edit(path: str, before: bytes, content: str, **options: object) -> Change:
    return Change(path, "edit", content, "a test edit", before_sha256=sha256(before), **options)  # type: ignore[arg-type]


def plan(*changes: Change) -> Plan:
    return Plan("test", "checkout", ".", "pkg", changes)


def git(root: Path, *arguments: str) -> None:
    command = ["git", "-C", str(root), "-c", "user.name=t", "-c", "user.email=t@example.com", *arguments]
    subprocess.run(command, check=True, capture_output=True)


def repository(root: Path, files: dict[str, bytes]) -> Path:
    write(root, files)
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "start")
    return root
