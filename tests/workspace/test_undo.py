import os

import pytest

from scaffold_tools.errors import BadInput, Refused
from scaffold_tools.workspace import apply, read_record, undo
from workspace.trees import create, edit, plan, snapshot, write

LIST = b"".join(b"line %d\n" % index for index in range(20))


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "root", {"list.py": LIST, "crlf.py": b"a\r\nb"})


def insert(content: bytes, line: bytes, extra: bytes) -> bytes:
    assert line in content
    return content.replace(line, line + extra)


def sample():
    return plan(
        edit("list.py", LIST, insert(LIST, b"line 5\n", b"ours\n").decode()),
        edit("crlf.py", b"a\r\nb", "a\r\nb\r\nc"),
        create("family/deep/m.py", "m = 1\n"),
        create("family/run.sh", "x\n", executable=True),
    )


def test_undo_gives_the_tree_back_byte_for_byte(root, tmp_path):
    os.chmod(root / "list.py", 0o640)
    before = snapshot(root)
    apply(sample(), root, record_dir=tmp_path / "run")
    assert snapshot(root) != before
    undone = undo(root, tmp_path / "run")
    assert snapshot(root) == before
    assert set(undone.restored) == {"list.py", "crlf.py"}
    assert set(undone.removed) == {"family/deep/m.py", "family/run.sh"}
    with pytest.raises(BadInput, match="nothing is applied"):
        undo(root, tmp_path / "run")


def test_undo_of_a_new_package_takes_its_folder_away(tmp_path):
    apply(plan(create("src/p/x.py", "x\n")), tmp_path / "package", record_dir=tmp_path / "run")
    undo(tmp_path / "package", tmp_path / "run")
    assert sorted(os.listdir(tmp_path)) == ["run"]


def test_undo_goes_back_to_before_the_first_of_several_applies(root, tmp_path):
    before = snapshot(root)
    apply(sample(), root, record_dir=tmp_path / "run")
    current = (root / "list.py").read_bytes()
    apply(
        plan(edit("list.py", current, insert(current, b"ours\n", b"more\n").decode()), create("other.py", "o\n")),
        root, record_dir=tmp_path / "run",
    )  # fmt: skip
    assert len(read_record(tmp_path / "run").entries) == 5
    undo(root, tmp_path / "run")
    assert snapshot(root) == before


def test_undo_keeps_lines_that_the_user_added_to_an_edited_file(root, tmp_path):
    apply(sample(), root, record_dir=tmp_path / "run")
    text = insert((root / "list.py").read_bytes(), b"line 15\n", b"mine\n")
    (root / "list.py").write_bytes(text)
    undone = undo(root, tmp_path / "run")
    assert undone.merged == ("list.py",)
    assert (root / "list.py").read_bytes() == insert(LIST, b"line 15\n", b"mine\n")


def test_undo_keeps_what_the_user_added_between_two_applies(root, tmp_path):
    apply(sample(), root, record_dir=tmp_path / "run")
    mine = insert((root / "list.py").read_bytes(), b"line 15\n", b"mine\n")
    (root / "list.py").write_bytes(mine)
    apply(
        plan(edit("list.py", mine, insert(mine, b"line 18\n", b"more\n").decode())), root, record_dir=tmp_path / "run"
    )
    undo(root, tmp_path / "run")
    assert (root / "list.py").read_bytes() == insert(LIST, b"line 15\n", b"mine\n")


def test_undo_keeps_a_created_file_that_the_user_changed(root, tmp_path):
    apply(sample(), root, record_dir=tmp_path / "run")
    (root / "family/deep/m.py").write_bytes(b"m = 2\n")
    write(root, {"family/notes.txt": b"mine"})
    undone = undo(root, tmp_path / "run")
    assert undone.kept == ("family/deep/m.py",)
    assert (root / "family/deep/m.py").read_bytes() == b"m = 2\n"
    assert (root / "family/notes.txt").read_bytes() == b"mine"
    assert (root / "list.py").read_bytes() == LIST


def test_undo_refuses_whole_when_the_user_changed_the_very_lines(root, tmp_path):
    apply(sample(), root, record_dir=tmp_path / "run")
    (root / "list.py").write_bytes((root / "list.py").read_bytes().replace(b"ours\n", b"mine now\n"))
    before = snapshot(root, times=True)
    with pytest.raises(Refused, match=r"list\.py was changed at the lines"):
        undo(root, tmp_path / "run")
    assert snapshot(root, times=True) == before


def test_undo_removes_the_bytecode_of_removed_modules_alone(root, tmp_path):
    apply(sample(), root, record_dir=tmp_path / "run")
    write(root, {"family/deep/__pycache__/m.cpython-312.pyc": b"x", "__pycache__/list.cpython-312.pyc": b"y"})
    undo(root, tmp_path / "run")
    assert not (root / "family").exists()
    assert (root / "__pycache__/list.cpython-312.pyc").exists()


def test_a_damaged_record_or_blob_is_named_and_nothing_is_touched(root, tmp_path):
    apply(sample(), root, record_dir=tmp_path / "run")
    before = snapshot(root, times=True)
    blob = tmp_path / "run" / "blobs" / read_record(tmp_path / "run").entry("list.py").before_sha256
    blob.write_bytes(b"other")
    with pytest.raises(BadInput, match="damaged"):
        undo(root, tmp_path / "run")
    (tmp_path / "run" / "applied.json").write_text("{")
    with pytest.raises(BadInput, match=r"applied\.json"):
        undo(root, tmp_path / "run")
    assert snapshot(root, times=True) == before


def test_a_record_that_points_outside_is_refused(root, tmp_path):
    apply(sample(), root, record_dir=tmp_path / "run")
    write(tmp_path, {"victim": b"m = 1\n"})
    record = tmp_path / "run" / "applied.json"
    record.write_text(record.read_text().replace("family/deep/m.py", "../victim"))
    with pytest.raises(Refused):
        undo(root, tmp_path / "run")
    assert (tmp_path / "victim").exists()
