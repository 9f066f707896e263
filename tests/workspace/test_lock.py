"""One at a time, whatever becomes of the file that the lock is on."""

import fcntl
import os
import threading

import pytest

from scaffold_tools.errors import Refused
from scaffold_tools.workspace.lock import tree_lock


@pytest.fixture(autouse=True)
def locks(tmp_path, monkeypatch):
    """The folder of the files."""
    monkeypatch.setenv("SCAFFOLD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "locks"


def is_refused(root):
    try:
        with tree_lock(root, timeout=0):
            return False
    except Refused:
        return True


def test_the_file_goes_with_the_lock(tmp_path, locks):
    with tree_lock(tmp_path / "a"), tree_lock(tmp_path / "b"):
        assert len(list(locks.iterdir())) == 2
        assert is_refused(tmp_path / "a")
    assert list(locks.iterdir()) == []


def test_who_waits_gets_a_lock_that_counts_although_the_file_went(tmp_path):
    """Each leaves while others wait: two would be inside at once, had they locks of files that are gone."""
    inside, most, count = [0], [0], [0]

    def work():
        for _ in range(12):
            with tree_lock(tmp_path / "root"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                count[0] += 1
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most[0], count[0]) == (1, 72)


def test_the_lock_of_a_file_that_went_between_opening_and_locking_is_none(tmp_path, locks, monkeypatch):
    real, gone = fcntl.flock, []

    def late(descriptor, how):
        if not gone:
            gone.extend(path.unlink() or path for path in locks.iterdir())
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with tree_lock(tmp_path / "root"):
        assert len(gone) == 1
        assert is_refused(tmp_path / "root")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_process_that_inherited_the_lock_keeps_it_and_its_file(tmp_path, locks):
    root, (ended, end) = tmp_path / "root", os.pipe()
    with tree_lock(root):
        child = os.fork()
        if child == 0:
            os.close(end)
            os.read(ended, 1)
            os._exit(0)
    assert is_refused(root)
    assert len(list(locks.iterdir())) == 1
    os.close(end)
    os.waitpid(child, 0)
    assert not is_refused(root)
    assert list(locks.iterdir()) == []
