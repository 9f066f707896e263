"""A plan against a tree: the status of every change, and the difference as people and programs read it."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scaffold_tools.errors import BadInput
from scaffold_tools.workspace.plan import Change, Plan, Status
from scaffold_tools.workspace.record import Record, read_record
from scaffold_tools.workspace.safety import check_collisions, check_on_disk, check_path
from scaffold_tools.workspace.transaction import open_tree, sha256


@dataclass(frozen=True)
class ChangeStatus:
    """One change of a plan, seen against the tree."""

    path: str
    status: Status
    summary: str
    reason: str = ""
    """Why it is a conflict, or what differs besides the content."""


@dataclass(frozen=True)
class FileDiff:
    """What one change would do to one file."""

    path: str
    status: Status
    added: int
    removed: int
    diff: str
    """Unified, in the form that `git apply` takes; empty when nothing changes."""


@dataclass(frozen=True)
class Seen:
    """A change together with what is on disk now."""

    change: Change
    status: ChangeStatus
    current: bytes | None
    mode: int | None
    content: bytes


def status(plan: Plan, root: Path, *, record_dir: Path | None = None) -> tuple[ChangeStatus, ...]:
    """Create, update, identical or conflict for every change, in the plan's order; touches nothing.

    Args:
        plan: what is wanted.
        root: the tree.
        record_dir: run folder of an earlier apply; files that are as it left them may be updated.

    Raises:
        Refused: a path that leaves the root, goes through a link, or is not a regular file.
    """
    with open_tree(root) as tree:
        return tuple(seen.status for seen in look(plan, tree.root, record_of(record_dir)))


def diff(plan: Plan, root: Path, *, record_dir: Path | None = None) -> str:
    """The whole plan as one unified diff, empty when everything is identical already."""
    return "".join(entry.diff for entry in diff_entries(plan, root, record_dir=record_dir))


def diff_entries(plan: Plan, root: Path, *, record_dir: Path | None = None) -> tuple[FileDiff, ...]:
    """The difference file by file, in the plan's order."""
    with open_tree(root) as tree:
        return tuple(_file_diff(seen) for seen in look(plan, tree.root, record_of(record_dir)))


def record_of(record_dir: Path | None) -> Record | None:
    """The record of an earlier apply, where there is one."""
    return None if record_dir is None else read_record(record_dir)


def look(plan: Plan, root: Path, record: Record | None) -> tuple[Seen, ...]:
    """Check every path, read what is there, and judge.

    Raises:
        Refused: see `status`.
    """
    for change in plan.changes:
        check_path(change.path)
    check_collisions(change.path for change in plan.changes)
    for change in plan.changes:
        check_on_disk(root, change.path)
    return tuple(_look_at(change, root, record) for change in plan.changes)


def _look_at(change: Change, root: Path, record: Record | None) -> Seen:
    content = encoded(change)
    try:
        current: bytes | None = (root / change.path).read_bytes()
        mode: int | None = stat.S_IMODE(os.lstat(root / change.path).st_mode)
    except FileNotFoundError:
        current = mode = None
    except OSError as error:
        raise BadInput(f"{change.path} cannot be read: {error.strerror}") from error
    verdict, reason = _judge(change, content, current, mode, record)
    return Seen(change, ChangeStatus(change.path, verdict, change.summary, reason), current, mode, content)


def encoded(change: Change) -> bytes:
    """The bytes of a change; a lone surrogate has none."""
    try:
        return change.content.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadInput(f"{change.path}: the planned content is not valid Unicode") from error


def _judge(
    change: Change, content: bytes, current: bytes | None, mode: int | None, record: Record | None
) -> tuple[Status, str]:
    if current is None:
        return ("conflict", "the file that it edits is gone") if change.kind == "edit" else ("create", "")
    if current == content:
        lacks = change.executable and mode is not None and not mode & stat.S_IXUSR
        return ("update", "becomes executable") if lacks else ("identical", "")
    entry = record.entry(change.path) if record else None
    if entry is not None and change.kind == "create":
        # Not what the plan was made against: a checkout's file may be ours by now, with the user's lines in it.
        known = {entry.base_sha256, entry.before_sha256}
    else:
        known = {change.before_sha256}  # an edit is never computed from anything but its own before
    if sha256(current) in known:
        return "update", ""
    if entry is not None and entry.base_sha256 == sha256(content):
        return "skip", "changed by you since; nothing new to write"
    if change.kind == "create":
        return "conflict", "a file is there already that is not from this tool, or was changed since"
    return "conflict", "it changed since the plan was made"


def _file_diff(seen: Seen) -> FileDiff:
    after = seen.current if seen.status.status in ("identical", "skip") else seen.content
    path, executable = seen.change.path, seen.change.executable
    return file_diff(path, seen.status.status, seen.current, after, mode=seen.mode, executable=executable)


def file_diff(
    path: str, status: Status, before: bytes | None, after: bytes | None, *, mode: int | None, executable: bool
) -> FileDiff:
    """One file before and after (None: it is not there), as `git apply` takes it; empty when nothing changes."""
    becomes_executable = before is not None and executable and not (mode or 0) & stat.S_IXUSR
    if before == after and not (status == "update" and becomes_executable):
        return FileDiff(path, status, 0, 0, "")
    old, new = _text_lines(before or b""), _text_lines(after or b"")
    head = f"diff --git a/{path} b/{path}\n"
    if before is None:
        head += f"new file mode {'100755' if executable else '100644'}\n"
    elif after is None:
        head += f"deleted file mode {'100755' if (mode or 0) & stat.S_IXUSR else '100644'}\n"
    elif becomes_executable:
        head += "old mode 100644\nnew mode 100755\n"
    if old is None or new is None:
        return FileDiff(path, status, 0, 0, head + f"Binary files a/{path} and b/{path} differ\n")
    names = ("/dev/null" if before is None else f"a/{path}", "/dev/null" if after is None else f"b/{path}")
    body = list(difflib.unified_diff(old, new, *names))
    added = sum(line.startswith("+") for line in body[2:])
    removed = sum(line.startswith("-") for line in body[2:])
    return FileDiff(path, status, added, removed, head + "".join(_with_end(line) for line in body))


def _text_lines(content: bytes) -> list[str] | None:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    parts = text.split("\n")  # not splitlines: form feeds and the like belong to a line
    return [part + "\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def _with_end(line: str) -> str:
    return line if line.endswith("\n") else line + "\n\\ No newline at end of file\n"


def touched(seen: Sequence[Seen]) -> tuple[Seen, ...]:
    """Those that would change the tree."""
    return tuple(one for one in seen if one.status.status in ("create", "update"))
