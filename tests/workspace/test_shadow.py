"""A plan is made against the tree without what was generated, however the user changed it since."""

from __future__ import annotations

from scaffold_tools.workspace import apply, read_record, shadow
from workspace.trees import create, edit, plan, snapshot, write

LIST = b"".join(b"line %d\n" % index for index in range(20))
OURS = LIST.replace(b"line 5\n", b"line 5\nours\n")


def seen_from(root, run_dir):
    """Every file that a planner finds, as it reads it."""
    with shadow(root, read_record(run_dir), run_dir) as place:
        assert place.name == root.name
        return {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def tree(tmp_path):
    root = write(tmp_path / "root", {"list.py": LIST, "src/a.py": b"a\n", "old.py": b"upstream\n"})
    replaced = create("old.py", "ours\n", before_sha256=edit("x", b"upstream\n", "").before_sha256)
    made = plan(edit("list.py", LIST, OURS.decode()), create("src/family/m.py", "m\n"), replaced)
    apply(made, root, record_dir=tmp_path / "run")
    return root


def test_it_reads_like_the_tree_before_the_first_apply(tmp_path):
    root = tree(tmp_path)
    assert seen_from(root, tmp_path / "run") == {"list.py": LIST, "src/a.py": b"a\n", "old.py": b"upstream\n"}


def test_folders_that_we_made_are_not_there(tmp_path):
    root = tree(tmp_path)
    with shadow(root, read_record(tmp_path / "run"), tmp_path / "run") as place:
        assert not (place / "src/family").exists()


def test_what_the_user_added_is_there(tmp_path):
    root = tree(tmp_path)
    (root / "list.py").write_bytes(OURS.replace(b"line 15\n", b"line 15\nmine\n"))
    write(root, {"src/family/own.py": b"own\n"})
    found = seen_from(root, tmp_path / "run")
    assert found["list.py"] == LIST.replace(b"line 15\n", b"line 15\nmine\n")
    assert found["src/family/own.py"] == b"own\n"
    assert "src/family/m.py" not in found


def test_our_own_lines_changed_by_the_user_stay_as_they_are(tmp_path):
    root = tree(tmp_path)
    (root / "list.py").write_bytes(OURS.replace(b"ours\n", b"mine\n"))
    assert seen_from(root, tmp_path / "run")["list.py"] == OURS.replace(b"ours\n", b"mine\n")


def test_the_tree_itself_is_not_touched_and_repositories_in_it_are_not_copied(tmp_path):
    root = tree(tmp_path)
    write(root, {"3rdparty/core/.git": b"gitdir\n", "3rdparty/core/x.py": b"x\n", ".venv/pyvenv.cfg": b""})
    before = snapshot(root, times=True)
    with shadow(root, read_record(tmp_path / "run"), tmp_path / "run") as place:
        assert (place / "3rdparty/core").is_symlink() and (place / ".venv").is_symlink()
        assert (place / "3rdparty/core/x.py").read_bytes() == b"x\n"
    assert snapshot(root, times=True) == before
