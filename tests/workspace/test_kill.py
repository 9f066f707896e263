"""Kill the caller at random moments, and the finisher at every single operation: the tree is whole, old or new."""

import os
import shutil
import signal
import subprocess
import time

import pytest

from scaffold_tools.workspace import apply, finisher, recover, undo, update
from scaffold_tools.workspace.lock import tree_lock
from scaffold_tools.workspace.transaction import Step, Tree, _journal_home, _stage
from support.kill_moments import KillMoments
from workspace.trees import create, edit, plan, repository, snapshot, write

POINTS = int(os.environ.get("SCAFFOLD_KILL_POINTS", "20"))
BEFORE = {f"pkg/m{index}.py": f"value = {index}\n".encode() for index in range(12)}


def sample():
    edits = [edit(name, content, content.decode() * 40) for name, content in BEFORE.items()]
    return plan(*edits, *(create(f"new/deep/f{index}.py", "x = 1\n" * 50) for index in range(12)))


def newer():
    """What a later version generates: other edits, other files, some of the first no longer."""
    edits = [edit(name, content, content.decode() * 20) for name, content in BEFORE.items()]
    return plan(
        *edits, *(create(f"new/{'deep' if index % 2 else 'flat'}/f{index}.py", "x = 2\n") for index in range(12))
    )


def in_child(action):
    """Run in a forked process of its own session; returns its id once it is about to begin."""
    ready, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            os.write(write_end, b"1")
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    os.close(write_end)
    os.read(ready, 1)
    os.close(ready)
    return child


def killed(action, root, moments, old, new):
    """What the tree is after `action` was killed at some moment: all of it old, or all of it new."""
    child = in_child(action)
    time.sleep(moments.wait())
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found = settled(root)
    assert found in (old, new), f"half done, with {moments.outcomes} before"
    moments.saw("old" if found == old else "new")
    return found


def settled(root):
    """The tree once nobody is at work on it any more."""
    with tree_lock(root.resolve(), timeout=20):
        return snapshot(root)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("job", ["apply", "undo"])
def test_a_kill_at_any_moment_leaves_the_tree_old_or_new(tmp_path, job):
    make = repository if job == "apply" else write  # a journal in .git, and one beside the root
    root, run_dir = make(tmp_path / "root", BEFORE), tmp_path / "run"
    before = snapshot(root)
    began = time.monotonic()
    apply(sample(), root, record_dir=run_dir)
    span = time.monotonic() - began
    after = snapshot(root)
    if job == "apply":
        undo(root, run_dir)
        assert snapshot(root) == before
    old, new = (before, after) if job == "apply" else (after, before)
    act, back = (
        (lambda: apply(sample(), root, record_dir=run_dir), lambda: undo(root, run_dir)) if job == "apply"
        else (lambda: undo(root, run_dir), lambda: apply(sample(), root, record_dir=run_dir))
    )  # fmt: skip
    moments = KillMoments(span)
    for _ in range(POINTS):
        found = killed(act, root, moments, old, new)
        recover(root)
        assert snapshot(root) == found, "recovery of a settled tree must not change it"
        if found == new:
            back()
            assert snapshot(root) == old
    assert moments.both, moments.outcomes


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_kill_at_any_moment_of_an_update_leaves_the_tree_old_or_new(tmp_path):
    """With lines of the user's to merge; afterwards undo works from either state."""
    root, run_dir = repository(tmp_path / "root", BEFORE), tmp_path / "run"
    before = snapshot(root)
    apply(sample(), root, record_dir=run_dir)
    mine = root / "new/deep/f1.py"
    mine.write_bytes(b"mine = 1\n" + mine.read_bytes())
    old, kept = snapshot(root), shutil.copytree(run_dir, tmp_path / "kept")
    began = time.monotonic()
    update(newer(), root, record_dir=run_dir, allow_dirty=True)
    span = time.monotonic() - began
    new = snapshot(root)
    assert old != new and b"mine = 1\n" in mine.read_bytes()
    moments, points = KillMoments(span), POINTS if "SCAFFOLD_KILL_POINTS" in os.environ else 10
    for point in range(points):
        back_to(root, run_dir, old, kept)
        killed(lambda: update(newer(), root, record_dir=run_dir, allow_dirty=True), root, moments, old, new)
        recover(root)
        if point % 5 == 4:
            assert undo(root, run_dir).kept == ("new/deep/f1.py",)
            left = {name: row for name, row in snapshot(root).items() if not name.startswith("new")}
            assert left == before, f"undo after point {point}"
    assert moments.both, moments.outcomes


def back_to(root, run_dir, old, kept):
    """The tree and the record as they were before the update."""
    for place in (root / "new", run_dir):
        shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(kept, run_dir)
    for name, (content, mode, _) in sorted(old.items()):
        if content == "dir":
            (root / name).mkdir(exist_ok=True)
        else:
            (root / name).write_bytes(content)
            os.chmod(root / name, mode & 0o7777)


def crash_after(count):
    """Make the process end, without any clean-up, at the operation number `count` that changes the disk."""
    left = [count]

    def wrapped(real):
        def operation(*args, **kwargs):
            if left[0] == 0:
                os._exit(99)
            left[0] -= 1
            return real(*args, **kwargs)

        return operation

    for name in ("open", "replace", "rename", "mkdir", "unlink", "rmdir", "fsync"):
        setattr(os, name, wrapped(getattr(os, name)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_crash_at_every_operation_of_the_finisher_is_recovered(tmp_path):
    steps = [Step("a.py", b"new a", b"old a"), Step("d/e/b.py", b"new b", None), Step("gone.py", None, b"bye")]
    seen, count, crashes = set(), 0, 1
    while crashes:
        root = tmp_path / f"r{count}"
        root.mkdir()
        (root / "a.py").write_bytes(b"old a")
        (root / "gone.py").write_bytes(b"bye")
        old = snapshot(root)
        journal = _journal_home(root)
        _stage(root, journal, steps, [], [])
        crashes = 0
        # The second process crashes in recovery itself, as often as it takes.
        for extra in (count, count // 2, 1, None):
            child = os.fork()
            if child == 0:
                if extra is not None:
                    crash_after(extra)
                finisher.recover(str(journal)) if crashes else finisher.finish(str(journal))
                os._exit(0)
            crashed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 99
            crashes += crashed
            if not crashed:
                break
        found = snapshot(root)
        new = {"a.py": b"new a", "d": "dir", "d/e": "dir", "d/e/b.py": b"new b"}
        contents = {name: row[0] for name, row in found.items()}
        assert found == old or contents == new, f"half done after a crash at operation {count}: {contents}"
        assert not journal.exists()
        seen.add("old" if found == old else "new")
        count += 1
    assert seen == {"old", "new"}
    assert count > 8


def test_a_rename_that_fails_halfway_is_put_back_with_the_very_inodes(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.py").write_bytes(b"old")
    before = snapshot(root, times=True)
    with tree_lock(root) as lock:
        tree = Tree(root, lock, None)
        journal = _journal_home(root)
        _stage(tree.root, journal, [Step("a.py", b"new", b"old"), Step("n/x.py", b"x", None)], [], [])
        (root / "n").write_bytes(b"in the way")
        with pytest.raises(OSError):
            finisher.finish(str(journal))
    os.unlink(root / "n")
    assert snapshot(root, times=True) == before
    assert not journal.exists()


def test_recovery_does_not_overwrite_what_the_user_wrote_after_a_crash(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.py").write_bytes(b"old a")
    (root / "b.py").write_bytes(b"old b")
    journal = _journal_home(root)
    _stage(root, journal, [Step("a.py", b"new a", b"old a"), Step("b.py", b"new b", b"old b")], [], [])
    (journal / "commit").touch()
    os.replace(journal / "new/0", root / "a.py")  # the machine stopped here
    (root / "b.py").write_bytes(b"mine")
    assert recover(root) == "rolled back"
    assert (root / "a.py").read_bytes() == b"old a"
    assert (root / "b.py").read_bytes() == b"mine"


def test_an_interrupt_of_the_caller_waits_for_the_end(tmp_path):
    """It comes once the finisher is at work; when the caller has gone, so has the finisher with its lock."""
    root = repository(tmp_path / "root", BEFORE)
    before = snapshot(root)
    at_work, write_end = os.pipe()
    communicate = subprocess.Popen.communicate

    def telling(process, *args, **kwargs):
        if not args and not kwargs:  # git is asked with some
            os.write(write_end, b"1")
        return communicate(process, *args, **kwargs)

    def act():
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
        subprocess.Popen.communicate = telling
        apply(sample(), root, record_dir=tmp_path / "run")

    child = in_child(act)
    os.close(write_end)
    assert os.read(at_work, 1) == b"1"
    os.kill(child, signal.SIGINT)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1, "interrupted after all"
    with tree_lock(root.resolve(), timeout=0):
        assert len(snapshot(root)) == len(before) + 14
