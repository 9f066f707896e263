import os
import resource

import pytest

from scaffold_tools.errors import EnvironmentLacks, Refused
from scaffold_tools.workspace import apply, status
from workspace.trees import create, edit, plan, snapshot, write


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "root", {"a/x.py": b"x\n"})


@pytest.mark.parametrize(
    "path",
    [
        "../out.py",
        "/etc/out.py",
        "a/../../out.py",
        "a//b.py",
        "./b.py",
        "",
        "a/",
        "..",
        "a\\b.py",
        "a/new\nline.py",
        "a/\u202egnp.py",
        "a/\x00.py",
        ".git/hooks/pre-commit",
        "a/.GIT/config",
        ".git. /config",
        "git~1/config",
        ".git::$INDEX_ALLOCATION/config",
    ],
)
def test_a_path_that_leaves_the_root_or_enters_git_is_refused(root, tmp_path, path):
    before = snapshot(tmp_path, times=True)
    with pytest.raises(Refused) as error:
        apply(plan(create("ok.py", "x\n"), create(path, "evil\n")), root, record_dir=tmp_path / "root" / "run")
    assert error.value.exit_code == 4
    assert snapshot(tmp_path, times=True) == before


def test_ordinary_dotted_names_are_not_refused(root):
    names = ["a/.gitignore", ".github/x.yml", "a/..b.py", "a/git.py"]
    assert [one.status for one in status(plan(*(create(name, "") for name in names)), root)] == ["create"] * 4


def test_a_symlinked_folder_is_refused(root, tmp_path):
    outside = write(tmp_path / "outside", {"y.py": b"y\n"})
    (root / "link").symlink_to(outside)
    with pytest.raises(Refused, match="symbolic link 'link'"):
        apply(plan(create("link/new.py", "x\n")), root, record_dir=tmp_path / "run")
    with pytest.raises(Refused, match="symbolic link"):
        apply(plan(edit("link/y.py", b"y\n", "z\n")), root, record_dir=tmp_path / "run")
    assert sorted(os.listdir(outside)) == ["y.py"]


def test_a_symlinked_file_is_refused_even_when_it_points_inside_or_nowhere(root, tmp_path):
    (root / "in.py").symlink_to(root / "a/x.py")
    (root / "dangling.py").symlink_to(tmp_path / "nowhere")
    for name in ("in.py", "dangling.py"):
        with pytest.raises(Refused, match="symbolic link"):
            apply(plan(create(name, "x\n")), root, record_dir=tmp_path / "run")
    assert not (tmp_path / "nowhere").exists()


def test_a_link_slipped_in_after_the_check_is_not_followed(root, tmp_path, monkeypatch):
    from scaffold_tools.workspace import applying

    outside = write(tmp_path / "outside", {"z": b""})
    real_run = applying.run

    def swap(*args, **kwargs):
        os.rename(root / "a", root / "moved")
        (root / "a").symlink_to(outside)
        real_run(*args, **kwargs)

    monkeypatch.setattr(applying, "run", swap)
    with pytest.raises(Exception, match="nothing was changed"):
        apply(plan(create("first.py", "1\n"), create("a/new.py", "x\n")), root, record_dir=tmp_path / "run")
    assert sorted(os.listdir(outside)) == ["z"]
    assert not (root / "first.py").exists()


def test_names_that_collide_where_case_does_not_count_are_refused(root, tmp_path):
    with pytest.raises(Refused, match="same file where case does not count"):
        apply(plan(create("b/One.py", "1"), create("b/one.py", "2")), root, record_dir=tmp_path / "run")
    with pytest.raises(Refused, match="differs only in case"):
        apply(plan(create("A/new.py", "1")), root, record_dir=tmp_path / "run")
    with pytest.raises(Refused, match="planned as a file and as the folder"):
        apply(plan(create("b", "1"), create("b/c.py", "2")), root, record_dir=tmp_path / "run")


def test_files_and_folders_in_each_others_place_are_refused(root, tmp_path):
    with pytest.raises(Refused, match="is a file"):
        apply(plan(create("a/x.py/new.py", "1")), root, record_dir=tmp_path / "run")
    with pytest.raises(Refused, match="not a regular file"):
        apply(plan(create("a", "1")), root, record_dir=tmp_path / "run")
    os.mkfifo(root / "pipe")
    with pytest.raises(Refused, match="not a regular file"):
        apply(plan(create("pipe", "1")), root, record_dir=tmp_path / "run")


def test_a_read_only_file_is_refused(root, tmp_path):
    os.chmod(root / "a/x.py", 0o444)
    with pytest.raises(Refused, match="read-only"):
        apply(plan(edit("a/x.py", b"x\n", "y\n")), root, record_dir=tmp_path / "run")


def test_no_space_leaves_the_tree_untouched(root, tmp_path):
    before = snapshot(root, times=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(EnvironmentLacks, match="no space"):
            apply(plan(create("a/small.py", "1\n"), create("big.py", "x" * 100_000)), root, record_dir=tmp_path / "r")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert snapshot(root, times=True) == before
    assert sorted(os.listdir(tmp_path)) == ["r", "root"]


def test_no_space_while_staging_takes_the_staging_folder_away(root, tmp_path):
    from scaffold_tools.workspace.transaction import Step, open_tree, run

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with open_tree(root) as tree, pytest.raises(EnvironmentLacks, match="no space"):
            run(tree, [Step("small", b"1", None), Step("big", b"x" * 100_000, None)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(os.listdir(tmp_path)) == ["root"]
    assert sorted(os.listdir(root)) == ["a"]


def test_a_name_too_long_for_the_file_system_changes_nothing(root, tmp_path):
    before = snapshot(root, times=True)
    with pytest.raises(Refused):
        apply(plan(create("ok.py", "1"), create("n" * 300 + "/x.py", "1")), root, record_dir=tmp_path / "run")
    assert snapshot(root, times=True) == before
