"""`update`: what would be generated today, merged three ways into what people made of the files since.

The base of every merge is what was generated last (the record has it), `yours` is the tree, `new` is the plan. Each
file is judged by the first row of `CASES` that fits; then all of it is written as one, or nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scaffold_tools.errors import BadInput, Refused
from scaffold_tools.workspace import record as records
from scaffold_tools.workspace.applying import bytecode_of, new_file_mode, refuse_dirty, taken_out
from scaffold_tools.workspace.compare import ChangeStatus, FileDiff, encoded, file_diff
from scaffold_tools.workspace.merge import MARKERS, merge3
from scaffold_tools.workspace.plan import Change, Plan, Status
from scaffold_tools.workspace.record import Entry, Record
from scaffold_tools.workspace.safety import check_collisions, check_on_disk, check_path
from scaffold_tools.workspace.transaction import Step, missing_folders, open_tree, run


@dataclass(frozen=True)
class File:
    """One file of the plan or of the record, from all sides."""

    path: str
    base: bytes | None
    """As it was generated last; None when it never was."""
    yours: bytes | None
    """On disk now; None when it is not there."""
    new: bytes | None
    """As it would be generated today; None when it would not be."""
    entry: Entry | None
    change: Change | None
    mode: int | None
    original: bytes | None = None
    """The file as it would be without us, where it is not ours whole; None where that cannot be told."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of one file."""

    status: Status
    reason: str = ""
    content: bytes | None = None
    """What to write; None leaves the file, or removes it where the status says so."""


@dataclass(frozen=True)
class Case:
    """One row: the first that fits decides."""

    name: str
    fits: Callable[[File], bool]
    verdict: Callable[[File], Verdict]


def _merged(file: File) -> Verdict:
    assert file.base is not None and file.yours is not None and file.new is not None
    merged = merge3(file.base, file.yours, file.new)
    if merged.conflicts:
        places = "one place" if merged.conflicts == 1 else f"{merged.conflicts} places"
        return Verdict("conflict", f"both changed the same lines: {places} with markers", merged.content)
    if merged.content == file.yours:
        return Verdict("skip", "changed by you; nothing new to merge")
    return Verdict("update", "merged with what you changed", merged.content)


def _given_back(file: File) -> Verdict:
    if file.original is None:
        return Verdict("skip", "no longer edited, and changed by you at the same lines")
    if file.original == file.yours:
        return Verdict("identical")
    return Verdict("update", "no longer edited: what was generated is taken out", file.original)


CASES = (
    Case("gone on both sides", lambda f: f.new is None and f.yours is None, lambda f: Verdict("skip", "removed")),
    Case("not ours whole, no longer edited", lambda f: f.new is None and _shared(f), _given_back),
    Case(
        "no longer generated",
        lambda f: f.new is None and f.yours == f.base,
        lambda f: Verdict("remove", "no longer generated"),
    ),
    Case(
        "no longer generated, but changed",
        lambda f: f.new is None,
        lambda f: Verdict("skip", "no longer generated, but changed by you"),
    ),
    Case("same", lambda f: f.yours == f.new, lambda f: Verdict("identical")),
    Case(
        "removed by the user",
        lambda f: f.entry is not None and f.yours is None,
        lambda f: Verdict("skip", "removed by you"),
    ),
    Case(
        "an edit without its file",
        lambda f: f.yours is None and f.change is not None and f.change.kind == "edit",
        lambda f: Verdict("conflict", "the file that it edits is gone"),
    ),
    Case("not there yet", lambda f: f.yours is None, lambda f: Verdict("create", "", f.new)),
    Case(
        "in the way",
        lambda f: f.base is None and (f.change is None or f.change.before_sha256 is None),
        lambda f: Verdict("conflict", "a file is there already that is not from this tool"),
    ),
    Case("the first edit", lambda f: f.base is None, lambda f: Verdict("update", "", f.new)),
    Case(
        "markers of an earlier merge",
        lambda f: f.new == f.base and f.yours is not None and MARKERS.search(f.yours) is not None,
        lambda f: Verdict("conflict", "conflict markers are still there"),
    ),
    Case(
        "the user's change alone",
        lambda f: f.new == f.base,
        lambda f: Verdict("skip", "changed by you; nothing new to merge"),
    ),
    Case("our change alone", lambda f: f.yours == f.base, lambda f: Verdict("update", "", f.new)),
    Case("changes on both sides", lambda f: True, _merged),
)


def _shared(file: File) -> bool:
    """Whether the file was there before us."""
    return file.entry is not None and file.entry.before_sha256 is not None


@dataclass(frozen=True)
class Updated:
    """What an update did, or would do."""

    root: str
    statuses: tuple[ChangeStatus, ...]
    changed: tuple[str, ...]
    diffs: tuple[FileDiff, ...] = ()
    recovered: str | None = None

    @property
    def conflicts(self) -> tuple[str, ...]:
        """Files with markers to resolve."""
        return tuple(one.path for one in self.statuses if one.status == "conflict")


def compare_update(plan: Plan, root: Path, *, record_dir: Path) -> Updated:
    """What `update` would do, with the difference of each file; writes nothing.

    Raises:
        BadInput: nothing is applied. Refused: an unsafe path.
    """
    with open_tree(root) as tree:
        judged = _judged(plan, tree.root, _record(record_dir), record_dir)
        statuses = tuple(_status(file, verdict) for file, verdict in judged)
        return Updated(str(tree.root), statuses, (), tuple(_diff(*one) for one in judged), tree.recovered)


def update(
    plan: Plan,
    root: Path,
    *,
    record_dir: Path,
    allow_dirty: bool = False,
    inputs: Mapping[str, str] | None = None,
    whole: bool = True,
) -> Updated:
    """Bring a tree to what the plan says, keeping what was changed in it since: all of it or nothing.

    Args:
        plan: what would be generated today, for the tree without what was generated before (see `shadow`).
        root: the tree.
        record_dir: the run folder with the record of what was generated.
        allow_dirty: go on although git has uncommitted changes in shared files that would be edited. Files that are
            ours whole are merged in any case: that is what this is for.
        inputs: provenance for the record.
        whole: the plan is all there is; else files of the record that it lacks are left as they are.

    Raises:
        BadInput: nothing is applied. Refused: an unsafe path, a file in the way, or uncommitted changes.
    """
    with open_tree(root) as tree:
        old = _record(record_dir)
        judged = _judged(plan, tree.root, old, record_dir, whole=whole)
        statuses = tuple(_status(file, verdict) for file, verdict in judged)
        _refuse_foreign(judged)
        todo = [(file, verdict) for file, verdict in judged if _writes(file, verdict)]
        if not allow_dirty:
            rows = [(file.path, file.yours) for file, _ in todo if file.entry is None or file.entry.before_sha256]
            refuse_dirty(tree.root, rows, old)
        entries = tuple(entry for one in judged if (entry := _entry(*one, record_dir)) is not None)
        seen = {file.path for file, _ in judged}
        entries += tuple(entry for entry in old.entries if entry.path not in seen)
        if not todo and set(entries) == set(old.entries):
            return Updated(str(tree.root), statuses, (), (), tree.recovered)
        made = {*old.made_dirs, *missing_folders(tree.root, [f.path for f, v in todo if v.content is not None])}
        fresh = replace(
            old,
            tool_version=records.tool_version(),
            applied_at=records.utc_now(),
            package=plan.package,
            inputs={**old.inputs, **records.clean_inputs(inputs)},
            entries=entries,
            made_dirs=tuple(sorted(made)),
        )
        steps = [Step(file.path, verdict.content, file.yours, _mode(file, verdict)) for file, verdict in todo]
        removed = [step.path for step in steps if step.content is None]
        steps += bytecode_of(tree.root, removed)
        caches = {str(Path(step.path).parent) for step in steps if step.path.endswith(".pyc")}
        empty = sorted({*made, *caches}) if removed else []
        rename = records.write_pending(record_dir, fresh)
        run(tree, steps, remove_dirs=[folder for folder in empty if folder != "."], record=[rename])
        return Updated(str(tree.root), statuses, tuple(file.path for file, _ in todo), (), tree.recovered)


def _record(record_dir: Path) -> Record:
    record = records.read_record(record_dir)
    if record is None:
        raise BadInput(f"nothing is applied: {record_dir / records.RECORD} does not exist", hint="scaffold apply")
    return record


def _judged(
    plan: Plan, root: Path, record: Record, record_dir: Path, *, whole: bool = True
) -> list[tuple[File, Verdict]]:
    changes = {change.path: change for change in plan.changes}
    paths = [*changes, *(entry.path for entry in record.entries if whole and entry.path not in changes)]
    for path in paths:
        check_path(path)
    check_collisions(paths)
    for path in paths:
        check_on_disk(root, path)
    files = [_look_at(path, changes.get(path), root, record.entry(path), record_dir) for path in paths]
    return [(file, judge(file)) for file in files]


def _look_at(path: str, change: Change | None, root: Path, entry: Entry | None, record_dir: Path) -> File:
    try:
        yours: bytes | None = (root / path).read_bytes()
        mode: int | None = stat.S_IMODE(os.lstat(root / path).st_mode)
    except FileNotFoundError:
        yours = mode = None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    base = None if entry is None else records.read_blob(record_dir, entry.base_sha256)
    original = None
    if entry is not None and yours is not None and entry.before_sha256 is not None:
        original = taken_out(entry, yours, record_dir)
    return File(path, base, yours, None if change is None else encoded(change), entry, change, mode, original)


def judge(file: File) -> Verdict:
    """The verdict of the first row of `CASES` that fits."""
    return next(case for case in CASES if case.fits(file)).verdict(file)


def _status(file: File, verdict: Verdict) -> ChangeStatus:
    summary = file.change.summary if file.change else "no longer planned"
    return ChangeStatus(file.path, verdict.status, summary, verdict.reason)


def _writes(file: File, verdict: Verdict) -> bool:
    return verdict.status == "remove" or (verdict.content is not None and verdict.content != file.yours)


def _diff(file: File, verdict: Verdict) -> FileDiff:
    after = verdict.content if _writes(file, verdict) else file.yours
    executable = file.change is not None and file.change.executable
    return file_diff(file.path, verdict.status, file.yours, after, mode=file.mode, executable=executable)


def _refuse_foreign(judged: Sequence[tuple[File, Verdict]]) -> None:
    """What cannot be merged for want of a base stops the whole."""
    bad = [(file, verdict) for file, verdict in judged if verdict.status == "conflict" and file.base is None]
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise Refused(f"{bad[0][0].path}: {bad[0][1].reason}{more}", hint="move it away, then update again")


def _mode(file: File, verdict: Verdict) -> int | None:
    if verdict.content is None:
        return None
    mode = new_file_mode() if file.mode is None else file.mode
    executable = file.change is not None and file.change.executable
    return mode | (mode & 0o444) >> 2 if executable and file.mode is None else mode


def _entry(file: File, verdict: Verdict, record_dir: Path) -> Entry | None:
    """What the record says of a file afterwards; None when nothing of ours is left."""
    if file.new is None or file.change is None:
        kept = verdict.status == "skip" and file.yours is not None
        return file.entry if kept else None
    if verdict.status == "skip" and file.yours is None:
        return file.entry  # removed by the user: so it stays, the next time too
    after = verdict.content if verdict.content is not None else file.yours
    assert after is not None
    if file.entry is None and after == file.yours:
        return None  # it was there, the same, before us
    mode = _mode(file, Verdict(verdict.status, "", after))
    after_name, base_name = records.keep_blob(record_dir, after), records.keep_blob(record_dir, file.new)
    before, before_mode = _before(file, record_dir)
    return Entry(
        path=file.path,
        before_sha256=before,
        before_mode=before_mode,
        after_sha256=after_name,
        after_mode=0o644 if mode is None else mode,
        generated_sha256=None if base_name == after_name else base_name,
        edited=file.change.kind == "edit",
    )


def _before(file: File, record_dir: Path) -> tuple[str | None, int | None]:
    """What undo has to put back: the file without us, whatever the user added since included."""
    if file.entry is None:
        return (None if file.yours is None else records.keep_blob(record_dir, file.yours)), file.mode
    if file.original is None or not file.entry.edited:
        return file.entry.before_sha256, file.entry.before_mode
    return records.keep_blob(record_dir, file.original), file.entry.before_mode
