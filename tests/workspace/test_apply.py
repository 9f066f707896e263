import os
import stat
import subprocess

import pytest

from scaffold_tools.errors import Refused
from scaffold_tools.workspace import apply, diff, diff_entries, read_record, sha256, status
from workspace.trees import create, edit, git, plan, repository, snapshot, write

BEFORE = {"a/__init__.py": b"\xef\xbb\xbfx = 1\r\n", "run.sh": b"echo\n", "keep.txt": b"keep"}


@pytest.fixture
def root(tmp_path):
    root = write(tmp_path / "root", BEFORE)
    os.chmod(root / "run.sh", 0o750)
    return root


def sample():
    return plan(
        edit("a/__init__.py", BEFORE["a/__init__.py"], "\ufeffx = 1\r\ny = 2\r\n"),
        edit("run.sh", BEFORE["run.sh"], "echo hello\n"),
        create("a/b/new.py", "z = 3\n"),
        create("tool.sh", "#!/bin/sh\n", executable=True),
    )


def test_apply_writes_exact_bytes_and_keeps_modes(root, tmp_path):
    applied = apply(sample(), root, record_dir=tmp_path / "run", inputs={"link": "org/model", "commit": "0" * 40})
    assert [one.status for one in applied.statuses] == ["update", "update", "create", "create"]
    assert (root / "a/__init__.py").read_bytes() == b"\xef\xbb\xbfx = 1\r\ny = 2\r\n"
    assert stat.S_IMODE((root / "run.sh").stat().st_mode) == 0o750
    assert (root / "tool.sh").stat().st_mode & stat.S_IXUSR
    assert not (root / "a/b/new.py").stat().st_mode & stat.S_IXUSR
    assert (root / "keep.txt").read_bytes() == b"keep"
    record = read_record(tmp_path / "run")
    assert record.inputs["link"] == "org/model"
    assert {entry.path for entry in record.entries} == set(applied.changed)


def test_a_second_apply_changes_nothing_not_even_times(root, tmp_path):
    apply(sample(), root, record_dir=tmp_path / "run")
    before = snapshot(tmp_path, times=True)
    again = apply(sample(), root, record_dir=tmp_path / "run")
    assert {one.status for one in again.statuses} == {"identical"}
    assert again.changed == ()
    assert snapshot(tmp_path, times=True) == before


def test_apply_makes_a_root_that_does_not_exist(tmp_path):
    root = tmp_path / "deep" / "package"
    apply(plan(create("src/x.py", "x = 1\n")), root, record_dir=tmp_path / "run")
    assert (root / "src/x.py").read_bytes() == b"x = 1\n"
    assert sorted(path.name for path in root.parent.iterdir()) == ["package"]


def test_a_conflict_is_refused_and_nothing_is_written(root, tmp_path):
    wanted = sample()
    (root / "run.sh").write_bytes(b"echo mine\n")
    before = snapshot(root, times=True)
    assert [one.status for one in status(wanted, root)] == ["update", "conflict", "create", "create"]
    with pytest.raises(Refused, match=r"run\.sh: it changed since") as error:
        apply(wanted, root, record_dir=tmp_path / "run")
    assert error.value.exit_code == 4
    assert snapshot(root, times=True) == before
    assert read_record(tmp_path / "run") is None


def test_a_file_in_the_way_of_a_create_is_a_conflict(root, tmp_path):
    write(root, {"a/b/new.py": b"mine"})
    with pytest.raises(Refused, match=r"a/b/new\.py: a file is there already"):
        apply(sample(), root, record_dir=tmp_path / "run")
    assert (root / "a/b/new.py").read_bytes() == b"mine"


def test_a_created_file_may_be_updated_while_it_is_as_we_left_it(root, tmp_path):
    apply(plan(create("n.py", "one\n")), root, record_dir=tmp_path / "run")
    newer = plan(create("n.py", "two\n"))
    assert status(newer, root)[0].status == "conflict"
    assert status(newer, root, record_dir=tmp_path / "run")[0].status == "update"
    apply(newer, root, record_dir=tmp_path / "run")
    (root / "n.py").write_bytes(b"two\nmine\n")
    assert status(plan(create("n.py", "three\n")), root, record_dir=tmp_path / "run")[0].status == "conflict"


def test_uncommitted_changes_in_a_touched_file_are_refused_and_elsewhere_not(tmp_path):
    root = repository(tmp_path / "root", BEFORE)
    dirty = b"echo dirty\n"
    (root / "run.sh").write_bytes(dirty)
    (root / "keep.txt").write_bytes(b"dirty too")
    wanted = plan(edit("run.sh", dirty, "echo hello\n"), create("n.py", "n\n"))
    with pytest.raises(Refused, match=r"run\.sh has uncommitted changes"):
        apply(wanted, root, record_dir=tmp_path / "run")
    assert not (root / "n.py").exists()
    apply(plan(create("n.py", "n\n")), root, record_dir=tmp_path / "run")
    apply(wanted, root, record_dir=tmp_path / "run", allow_dirty=True)
    assert (root / "run.sh").read_bytes() == b"echo hello\n"


def test_our_own_uncommitted_files_do_not_count_as_dirty(tmp_path):
    root = repository(tmp_path / "root", BEFORE)
    apply(plan(create("n.py", "one\n")), root, record_dir=tmp_path / "run")
    apply(plan(create("n.py", "two\n")), root, record_dir=tmp_path / "run")
    assert (root / "n.py").read_bytes() == b"two\n"


def test_a_dirty_file_is_found_from_a_root_below_the_repository_top(tmp_path):
    top = repository(tmp_path / "top", {"sub/run.sh": b"one\n"})
    (top / "sub/run.sh").write_bytes(b"two\n")
    with pytest.raises(Refused, match=r"run\.sh has uncommitted changes"):
        apply(plan(edit("run.sh", b"two\n", "three\n")), top / "sub", record_dir=tmp_path / "run")


def test_git_applies_our_diff_to_the_same_bytes(tmp_path):
    root = repository(tmp_path / "root", BEFORE)
    git(root, "config", "core.autocrlf", "false")
    text = diff(sample(), root)
    git(tmp_path, "clone", "-q", str(root), "copy")
    subprocess.run(["git", "-C", str(tmp_path / "copy"), "apply", "-"], input=text.encode(), check=True)
    apply(sample(), root, record_dir=tmp_path / "run")
    ours, theirs = snapshot(root), snapshot(tmp_path / "copy")
    assert {name: row[0] for name, row in ours.items()} == {name: row[0] for name, row in theirs.items()}
    assert diff(sample(), root) == ""


def test_a_diff_says_when_a_final_newline_is_missing(root):
    entry = diff_entries(plan(edit("keep.txt", b"keep", "keep\nmore")), root)[0]
    assert entry.diff.count("\\ No newline at end of file") == 2
    assert (entry.added, entry.removed) == (2, 1)


def test_a_plan_made_over_the_users_lines_does_not_write_over_them(root, tmp_path):
    """A checkout's plan replaces what it finds; once the file is ours, what it finds may hold lines of the user's."""
    first = create("run.sh", "ours\n", before_sha256=sha256(BEFORE["run.sh"]))
    apply(plan(first), root, record_dir=tmp_path / "run")
    (root / "run.sh").write_bytes(b"ours\nmine\n")
    again = create("run.sh", "newer\n", before_sha256=sha256(b"ours\nmine\n"))
    with pytest.raises(Refused, match=r"run\.sh"):
        apply(plan(again), root, record_dir=tmp_path / "run")
    (root / "run.sh").write_bytes(BEFORE["run.sh"])  # the user took the target's own back
    assert apply(plan(again), root, record_dir=tmp_path / "run").changed == ("run.sh",)
