"""`apply` and `undo`: a plan put into a tree as one, and taken out again byte for byte."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scaffold_tools.errors import BadInput, Refused
from scaffold_tools.workspace import record as records
from scaffold_tools.workspace.compare import ChangeStatus, Seen, look, touched
from scaffold_tools.workspace.merge import merge3
from scaffold_tools.workspace.plan import Plan
from scaffold_tools.workspace.record import Entry, Record
from scaffold_tools.workspace.safety import check_on_disk, check_path, dirty_paths
from scaffold_tools.workspace.transaction import Step, Tree, explained, missing_folders, open_tree, run, sha256


@dataclass(frozen=True)
class Applied:
    """What an apply did."""

    root: str
    statuses: tuple[ChangeStatus, ...]
    """As they were before: `create` and `update` are done now."""
    changed: tuple[str, ...]
    record: str | None
    """The record file; None when nothing was ever applied here."""
    recovered: str | None = None
    """How an earlier, interrupted change was brought to its end first."""


def apply(
    plan: Plan,
    root: Path,
    *,
    record_dir: Path,
    allow_dirty: bool = False,
    inputs: Mapping[str, str] | None = None,
) -> Applied:
    """Make the tree as planned, all of it or nothing; where it is so already, nothing is touched.

    Args:
        plan: what is wanted.
        root: the tree; made if it does not exist.
        record_dir: the run folder, which takes the record and the bytes that undo needs.
        allow_dirty: go on although git has uncommitted changes in the very files.
        inputs: provenance for the record: link, commit, ...

    Raises:
        Refused: an unsafe path, a conflict, or uncommitted changes.
        EnvironmentLacks: no space.
    """
    with open_tree(root) as tree:
        record = records.read_record(record_dir)
        seen = look(plan, tree.root, record)
        _refuse_conflicts(seen)
        todo = touched(seen)
        if not todo:
            return _outcome(tree, seen, (), record_dir if record else None)
        if not allow_dirty:
            refuse_dirty(tree.root, [(one.change.path, one.current) for one in todo], record)
        steps = [Step(one.change.path, one.content, one.current, _mode(one)) for one in todo]
        rename = _write_record(
            _merged_record(plan, tree, todo, record, record_dir=record_dir, inputs=inputs or {}), record_dir
        )
        run(tree, steps, record=[rename])
        return _outcome(tree, seen, tuple(one.change.path for one in todo), record_dir)


def _outcome(tree: Tree, seen: Sequence[Seen], changed: tuple[str, ...], record_dir: Path | None) -> Applied:
    place = None if record_dir is None else str(record_dir / records.RECORD)
    return Applied(str(tree.root), tuple(one.status for one in seen), changed, place, tree.recovered)


def _refuse_conflicts(seen: Sequence[Seen]) -> None:
    bad = [one.status for one in seen if one.status.status == "conflict"]
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise Refused(f"{bad[0].path}: {bad[0].reason}{more}", hint="scaffold diff shows it, scaffold update merges")


def refuse_dirty(root: Path, todo: Sequence[tuple[str, bytes | None]], record: Record | None) -> None:
    """Refuse (path, content now) that git calls uncommitted, unless they are as we wrote them.

    Raises:
        Refused: there is one.
    """
    ours = {entry.path: entry.base_sha256 for entry in record.entries} if record else {}
    theirs = [path for path, current in todo if current is not None and ours.get(path) != sha256(current)]
    dirty = dirty_paths(root, theirs)
    if dirty:
        more = f" and {len(dirty) - 1} more" if len(dirty) > 1 else ""
        raise Refused(f"{dirty[0]}{more} has uncommitted changes", hint="commit or stash them, or pass --allow-dirty")


def _mode(one: Seen) -> int | None:
    """Permission bits after the change: those it has, the user's default for a new file, plus x where planned."""
    mode = new_file_mode() if one.mode is None else one.mode
    return mode | (mode & 0o444) >> 2 if one.change.executable else mode


def new_file_mode() -> int:
    """The user's default for a new file."""
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def _merged_record(
    plan: Plan,
    tree: Tree,
    todo: Sequence[Seen],
    old: Record | None,
    *,
    record_dir: Path,
    inputs: Mapping[str, str],
) -> Record:
    """The record after this apply: earlier entries stay, so that undo goes back to before the first one."""
    made = set(old.made_dirs if old else ()) | set(missing_folders(tree.root, [one.change.path for one in todo]))
    with _recording(record_dir):
        fresh = {one.change.path: _entry(one, old, record_dir) for one in todo}
    kept = [fresh.pop(entry.path, entry) for entry in (old.entries if old else ())]
    return Record(
        tool_version=records.tool_version(),
        applied_at=records.utc_now(),
        root=str(tree.root),
        target=plan.target,
        package=plan.package,
        inputs=records.clean_inputs(inputs) or (old.inputs if old else {}),
        entries=(*kept, *fresh.values()),
        made_dirs=tuple(sorted(made)),
    )


def _write_record(record: Record, record_dir: Path) -> tuple[Path, Path]:
    with _recording(record_dir):
        return records.write_pending(record_dir, record)


@contextmanager
def _recording(record_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise explained(error, record_dir) from error


def _entry(one: Seen, old: Record | None, record_dir: Path) -> Entry:
    """What to put back later: the state before the *first* apply, with whatever the user added since."""
    before, before_mode = one.current, one.mode
    earlier = old.entry(one.change.path) if old else None
    if earlier is not None and one.current is not None:
        before, before_mode = _earlier(earlier, one.current, record_dir), earlier.before_mode
    after_mode = _mode(one)
    return Entry(
        path=one.change.path,
        before_sha256=None if before is None else records.keep_blob(record_dir, before),
        before_mode=before_mode,
        after_sha256=records.keep_blob(record_dir, one.content),
        after_mode=after_mode if after_mode is not None else 0o644,
        edited=one.change.kind == "edit",
    )


def _earlier(entry: Entry, current: bytes, record_dir: Path) -> bytes | None:
    """The file as undo would leave it; where the user's lines and ours cannot be told apart, as it is."""
    if entry.before_sha256 is None:
        return None if sha256(current) == entry.base_sha256 else current
    without = taken_out(entry, current, record_dir)
    return current if without is None else without


def taken_out(entry: Entry, current: bytes, record_dir: Path) -> bytes | None:
    """A file that was there before us, without what was generated and with what the user changed in it since.

    None where the two cannot be told apart.
    """
    assert entry.before_sha256 is not None
    before = records.read_blob(record_dir, entry.before_sha256)
    if sha256(current) == entry.base_sha256:
        return before
    merged = merge3(records.read_blob(record_dir, entry.base_sha256), current, before)
    return None if merged.conflicts else merged.content


@dataclass(frozen=True)
class Undone:
    """What an undo did."""

    root: str
    removed: tuple[str, ...]
    restored: tuple[str, ...]
    """Byte for byte as before."""
    merged: tuple[str, ...]
    """Ours taken out, the user's lines kept."""
    kept: tuple[str, ...]
    """Files that we made and the user changed since: left as they are."""
    recovered: str | None = None


def undo(root: Path, record_dir: Path) -> Undone:
    """Give the tree back as it was before the first apply, keeping what the user added since; all of it or nothing.

    Raises:
        BadInput: nothing is applied, or the record is damaged.
        Refused: the user changed the very lines that would have to be taken out; names the file.
    """
    with open_tree(root) as tree:
        record = records.read_record(record_dir)
        if record is None:
            raise BadInput(f"nothing is applied: {record_dir / records.RECORD} does not exist")
        done: dict[str, list[str]] = {"removed": [], "restored": [], "merged": [], "kept": []}
        steps = []
        for entry in record.entries:
            check_on_disk(tree.root, entry.path)
            outcome, step = _way_back(entry, tree.root, record_dir)
            if outcome:
                done[outcome].append(entry.path)
            if step:
                steps.append(step)
        for folder in record.made_dirs:
            if folder != ".":
                check_path(folder)
        steps += bytecode_of(tree.root, done["removed"])
        caches = {str(Path(step.path).parent) for step in steps if step.path.endswith(".pyc")}
        rename = (record_dir / records.RECORD, record_dir / records.UNDONE)
        run(tree, steps, remove_dirs=sorted({*record.made_dirs, *caches}), record=[rename])
        return Undone(str(tree.root), **{key: tuple(value) for key, value in done.items()}, recovered=tree.recovered)


def _way_back(entry: Entry, root: Path, record_dir: Path) -> tuple[str | None, Step | None]:
    try:
        current = (root / entry.path).read_bytes()
    except FileNotFoundError:
        return None, None  # the user removed it: nothing of ours is left
    now = sha256(current)
    if now == entry.before_sha256:
        return None, None
    if entry.before_sha256 is None:
        return ("removed", Step(entry.path, None, current)) if now == entry.base_sha256 else ("kept", None)
    before = records.read_blob(record_dir, entry.before_sha256)
    if now == entry.base_sha256:
        return "restored", Step(entry.path, before, current, entry.before_mode)
    merged = merge3(records.read_blob(record_dir, entry.base_sha256), current, before)
    if merged.conflicts:
        raise Refused(
            f"{entry.path} was changed at the lines to take out", hint="take them out by hand, then undo again"
        )
    return "merged", Step(entry.path, merged.content, current)


def bytecode_of(root: Path, removed: Sequence[str]) -> list[Step]:
    """Python's caches of removed modules; they would keep our folders alive as namespace packages."""
    steps = []
    for path in removed:
        source = root / path
        cache = source.parent / "__pycache__"
        if source.suffix != ".py" or cache.is_symlink() or not cache.is_dir():
            continue
        for found in sorted(cache.glob(f"{source.stem}.*.pyc")):
            if found.is_file() and not found.is_symlink():
                place = found.relative_to(root).as_posix()
                steps.append(Step(place, None, found.read_bytes()))
    return steps
