"""What git says of a checkout, and that asking changes nothing there."""

import subprocess

from scaffold_tools.workspace.checkout import commit_of, is_changed
from workspace.trees import repository


def test_a_commit_and_changes_below_a_folder(tmp_path):
    root = repository(tmp_path / "root", {"a/x.py": b"x = 1\n", "b/y.py": b"y = 1\n"})
    said = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, check=True, capture_output=True, text=True).stdout
    assert commit_of(root) == said.strip()
    assert not is_changed(root)
    (root / "a" / "new.py").touch()
    assert (is_changed(root), is_changed(root, "a"), is_changed(root, "b")) == (True, True, False)


def test_a_folder_that_git_does_not_know_has_neither(tmp_path):
    assert commit_of(tmp_path) is None
    assert not is_changed(tmp_path)


def test_asking_runs_no_hook_of_the_checkout_and_leaves_its_index(tmp_path):
    root = repository(tmp_path / "root", {"x.py": b"x = 1\n"})
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    subprocess.run(["git", "config", "core.fsmonitor", str(hook)], cwd=root, check=True)
    index = (root / ".git" / "index").read_bytes()
    (root / "x.py").touch()  # git would refresh its index
    is_changed(root)
    assert (root / ".git" / "index").read_bytes() == index
    assert not (tmp_path / "ran").exists()
    subprocess.run(["git", "status"], cwd=root, check=True, capture_output=True)
    assert (tmp_path / "ran").exists(), "the control: git alone runs it"
