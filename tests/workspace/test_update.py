"""`update` merges what would be generated today into what people made of the files; undo still finds its way back."""

from __future__ import annotations

import shutil
import stat

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scaffold_tools.errors import BadInput, Refused
from scaffold_tools.workspace import apply, compare_update, read_record, status, undo, update
from scaffold_tools.workspace.updating import CASES, File, judge
from workspace.trees import create, edit, git, plan, repository, snapshot, write

LIST = b"".join(b"line %d\n" % index for index in range(20))
CODE = "".join(f"code {index}\n" for index in range(20))


def generated(text: str = CODE, exported: bytes = b"ours\n"):
    """A file of ours whole and an edit of somebody else's."""
    listed = LIST.replace(b"line 5\n", b"line 5\n" + exported)
    return plan(create("family/m.py", text), edit("list.py", LIST, listed.decode()))


@pytest.fixture
def root(tmp_path):
    root = write(tmp_path / "root", {"list.py": LIST})
    apply(generated(), root, record_dir=tmp_path / "run")
    return root


@pytest.fixture
def run_dir(tmp_path):
    return tmp_path / "run"


def states(done):
    return {one.path: one.status for one in done.statuses}


def change(path, old: bytes, new: bytes):
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))


def test_nothing_new_changes_nothing_not_even_times(root, run_dir, tmp_path):
    before = snapshot(tmp_path, times=True)
    assert states(update(generated(), root, record_dir=run_dir)) == {
        "family/m.py": "identical",
        "list.py": "identical",
    }
    assert snapshot(tmp_path, times=True) == before


def test_a_newer_template_and_the_users_lines_end_in_one_file(root, run_dir):
    change(root / "family/m.py", b"code 15\n", b"code 15\nmine\n")
    newer = CODE.replace("code 3\n", "code three\n")
    done = update(generated(newer), root, record_dir=run_dir)
    assert states(done)["family/m.py"] == "update"
    assert (root / "family/m.py").read_text() == newer.replace("code 15\n", "code 15\nmine\n")
    again = update(generated(newer), root, record_dir=run_dir)
    assert states(again)["family/m.py"] == "skip" and not again.changed


def test_the_base_is_what_was_generated_last_and_not_the_first_time(root, run_dir):
    """With the first base, the second merge would see the first one's result as the user's and conflict."""
    change(root / "family/m.py", b"code 15\n", b"code 15\nmine\n")
    for word in ("three", "drei", "trois"):
        newer = CODE.replace("code 3\n", f"code {word}\n")
        assert not update(generated(newer), root, record_dir=run_dir).conflicts
    assert (root / "family/m.py").read_text() == newer.replace("code 15\n", "code 15\nmine\n")


def test_markers_stand_only_where_both_changed_the_same_lines_and_are_remembered(root, run_dir):
    change(root / "family/m.py", b"code 3\n", b"mine\n")
    newer = CODE.replace("code 3\n", "theirs\n").replace("code 12\n", "code twelve\n")
    done = update(generated(newer), root, record_dir=run_dir)
    assert done.conflicts == ("family/m.py",)
    merged = (root / "family/m.py").read_text()
    assert "<<<<<<< yours\nmine\n=======\ntheirs\n>>>>>>> new\n" in merged
    assert merged.count("<<<<<<<") == 1 and "code twelve\n" in merged
    again = update(generated(newer), root, record_dir=run_dir)
    assert again.conflicts == ("family/m.py",) and not again.changed
    change(root / "family/m.py", b"<<<<<<< yours\nmine\n=======\ntheirs\n>>>>>>> new\n", b"mine\n")
    assert states(update(generated(newer), root, record_dir=run_dir))["family/m.py"] == "skip"


def test_a_line_of_a_marker_in_prose_is_no_conflict(root, run_dir):
    change(root / "family/m.py", b"code 3\n", b"# <<<<<<< yours\n<<<<<<< yours\n")
    assert states(update(generated(), root, record_dir=run_dir))["family/m.py"] == "skip"


def test_a_file_that_the_user_removed_stays_removed_also_the_next_time(root, run_dir):
    (root / "family/m.py").unlink()
    for text in (CODE + "more\n", CODE + "and more\n"):
        done = update(generated(text), root, record_dir=run_dir)
        assert states(done)["family/m.py"] == "skip" and not done.changed
    assert not (root / "family/m.py").exists()


def test_a_line_of_ours_that_the_user_took_out_of_a_shared_file_stays_out(root, run_dir):
    change(root / "list.py", b"ours\n", b"")
    assert states(update(generated(), root, record_dir=run_dir))["list.py"] == "skip"
    assert (root / "list.py").read_bytes() == LIST


def test_what_is_no_longer_generated_goes_unless_the_user_changed_it(root, run_dir):
    extra = plan(*generated().changes, create("family/old.py", "old\n"), create("family/kept.py", "kept\n"))
    update(extra, root, record_dir=run_dir)
    write(root, {"family/__pycache__/old.cpython-312.pyc": b"x"})
    change(root / "family/kept.py", b"kept", b"mine")
    done = update(generated(), root, record_dir=run_dir)
    assert states(done) | {"family/m.py": "identical"} == {
        "family/m.py": "identical", "list.py": "identical", "family/old.py": "remove", "family/kept.py": "skip",
    }  # fmt: skip
    assert not (root / "family/old.py").exists() and not (root / "family/__pycache__").exists()
    assert (root / "family/kept.py").read_text() == "mine\n"


def test_an_edit_that_is_no_longer_made_is_taken_out_of_what_the_user_has(root, run_dir):
    change(root / "list.py", b"line 15\n", b"line 15\nmine\n")
    update(plan(create("family/m.py", CODE)), root, record_dir=run_dir)
    assert (root / "list.py").read_bytes() == LIST.replace(b"line 15\n", b"line 15\nmine\n")


def test_a_new_file_and_a_new_edit_come_with_their_way_back(root, run_dir):
    write(root, {"other.py": b"theirs\n"})
    more = plan(
        *generated().changes, create("new/tool.sh", "x\n", executable=True), edit("other.py", b"theirs\n", "o\n")
    )
    done = update(more, root, record_dir=run_dir)
    assert states(done)["new/tool.sh"] == "create" and states(done)["other.py"] == "update"
    assert (root / "new/tool.sh").stat().st_mode & stat.S_IXUSR
    undo(root, run_dir)
    assert {name: row[0] for name, row in snapshot(root).items()} == {"list.py": LIST, "other.py": b"theirs\n"}


def test_a_foreign_file_in_the_way_stops_the_whole_update(root, run_dir):
    write(root, {"new.py": b"mine\n"})
    before = snapshot(root, times=True)
    with pytest.raises(Refused, match=r"new\.py: a file is there already"):
        update(plan(*generated(CODE + "more\n").changes, create("new.py", "n\n")), root, record_dir=run_dir)
    assert snapshot(root, times=True) == before


def test_undo_after_a_merge_keeps_the_users_lines_and_takes_ours(root, run_dir):
    change(root / "list.py", b"line 15\n", b"line 15\nmine\n")
    change(root / "family/m.py", b"code 15\n", b"code 15\nmine\n")
    mine = LIST.replace(b"line 15\n", b"line 15\nmine\n")
    newer = edit("list.py", mine, mine.replace(b"line 5\n", b"line 5\nours\nmore\n").decode())
    update(plan(create("family/m.py", CODE + "end\n"), newer), root, record_dir=run_dir)
    assert b"more\n" in (root / "list.py").read_bytes()
    undone = undo(root, run_dir)
    assert undone.kept == ("family/m.py",), "it holds lines of the user's"
    assert (root / "list.py").read_bytes() == mine


def test_a_merged_file_is_never_written_over_by_a_plain_apply(root, run_dir):
    change(root / "family/m.py", b"code 15\n", b"code 15\nmine\n")
    newer = generated(CODE + "end\n")
    update(newer, root, record_dir=run_dir)
    assert [one.status for one in status(newer, root, record_dir=run_dir)] == ["skip", "identical"]
    assert apply(newer, root, record_dir=run_dir).changed == ()
    with pytest.raises(Refused, match="changed since"):
        apply(generated(CODE + "another end\n"), root, record_dir=run_dir)
    assert b"mine\n" in (root / "family/m.py").read_bytes()


def test_looking_says_the_same_as_doing_and_writes_nothing(root, run_dir, tmp_path):
    change(root / "family/m.py", b"code 15\n", b"code 15\nmine\n")
    newer = generated(CODE.replace("code 3\n", "code three\n"))
    before = snapshot(tmp_path, times=True)
    seen = compare_update(newer, root, record_dir=run_dir)
    assert snapshot(tmp_path, times=True) == before
    text = "".join(one.diff for one in seen.diffs)
    assert "+code three\n" in text and "-mine" not in text
    assert update(newer, root, record_dir=run_dir).statuses == seen.statuses


def test_shared_files_with_uncommitted_changes_are_refused_unless_told(tmp_path):
    root, run_dir = repository(tmp_path / "root", {"list.py": LIST}), tmp_path / "run"
    apply(generated(), root, record_dir=run_dir)
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "ours")
    change(root / "list.py", b"line 15\n", b"line 15\nmine\n")
    mine = LIST.replace(b"line 15\n", b"line 15\nmine\n")
    newer = plan(create("family/m.py", CODE), edit("list.py", mine, mine.decode() + "added\n"))
    with pytest.raises(Refused, match=r"list\.py has uncommitted changes"):
        update(newer, root, record_dir=run_dir)
    update(newer, root, record_dir=run_dir, allow_dirty=True)
    assert b"mine\n" in (root / "list.py").read_bytes() and b"added\n" in (root / "list.py").read_bytes()


def test_a_file_of_the_checkout_that_was_replaced_is_merged_against_our_version(tmp_path):
    root, run_dir = write(tmp_path / "root", {"bridge.py": b"upstream\n"}), tmp_path / "run"
    theirs = create("bridge.py", CODE, before_sha256=edit("x", b"upstream\n", "").before_sha256)
    apply(plan(theirs), root, record_dir=run_dir)
    change(root / "bridge.py", b"code 15\n", b"code 15\nmine\n")
    update(plan(create("bridge.py", "first\n" + CODE)), root, record_dir=run_dir)
    assert (root / "bridge.py").read_text().startswith("first\n") and b"mine\n" in (root / "bridge.py").read_bytes()
    (root / "bridge.py").write_text("first\n" + CODE)
    undo(root, run_dir)
    assert (root / "bridge.py").read_bytes() == b"upstream\n"


def test_without_a_record_there_is_nothing_to_update(tmp_path):
    with pytest.raises(BadInput, match="nothing is applied"):
        update(generated(), write(tmp_path / "root", {"list.py": LIST}), record_dir=tmp_path / "run")


def test_the_record_says_where_it_came_from_now(root, run_dir):
    update(generated(CODE + "end\n"), root, record_dir=run_dir, inputs={"revision": "1" * 40})
    assert read_record(run_dir).inputs["revision"] == "1" * 40


BASE = [f"line {index}\n" for index in range(12)]
edits = st.dictionaries(st.integers(0, 11), st.sampled_from(["replace", "delete", "insert"]), max_size=5)


def edited(changes: dict[int, str], word: str) -> bytes:
    """BASE with lines replaced and deleted, or with lines put in behind them; every new line is unique."""
    lines = []
    for index, line in enumerate(BASE):
        kind = changes.get(index)
        lines += {None: [line], "replace": [f"{word} {index}\n"], "delete": []}.get(kind, [line, f"{word} {index}\n"])
    return "".join(lines).encode()


def file_of(base: bytes | None, yours: bytes | None, new: bytes | None) -> File:
    planned = None if new is None else create("m.py", new.decode())
    return File("m.py", base, yours, new, None, planned, 0o644)


BASE_BYTES = "".join(BASE).encode()


@given(edits, edits)
def test_no_line_of_the_user_is_ever_lost(mine, theirs):
    yours = edited(mine, "mine")
    verdict = judge(file_of(BASE_BYTES, yours, edited(theirs, "new")))
    after = yours if verdict.content is None else verdict.content
    assert {line for line in yours.splitlines() if line.startswith(b"mine")} <= set(after.splitlines())
    assert verdict.status in ("update", "identical", "conflict", "skip")


@given(edits)
def test_a_template_that_did_not_change_leaves_every_file_alone(mine):
    verdict = judge(file_of(BASE_BYTES, edited(mine, "mine"), BASE_BYTES))
    assert verdict.content is None and verdict.status in ("identical", "skip")


@given(edits)
def test_a_file_that_nobody_touched_becomes_what_is_generated(theirs):
    new = edited(theirs, "new")
    verdict = judge(file_of(BASE_BYTES, BASE_BYTES, new))
    assert (verdict.content or BASE_BYTES) == new and verdict.status in ("identical", "update")


@given(edits, edits)
def test_there_is_a_conflict_only_where_changes_touch(mine, theirs):
    verdict = judge(file_of(BASE_BYTES, edited(mine, "mine"), edited(theirs, "new")))
    apart = all(abs(one - other) > 1 for one in mine for other in theirs)
    if apart:
        assert verdict.status != "conflict"
        both = {at: (kind, word) for word, side in (("mine", mine), ("new", theirs)) for at, kind in side.items()}
        wanted = b"".join(_one(at, both) for at in range(12))
        after = edited(mine, "mine") if verdict.content is None else verdict.content
        assert after == wanted
    if verdict.status == "conflict":
        assert not apart


def _one(at: int, both: dict[int, tuple[str, str]]) -> bytes:
    kind, word = both.get(at, (None, ""))
    fresh = f"{word} {at}\n"
    return "".join({None: [BASE[at]], "replace": [fresh], "delete": []}.get(kind, [BASE[at], fresh])).encode()


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(edits, min_size=1, max_size=2), edits)
def test_after_any_updates_undo_gives_shared_files_back_with_the_users_lines(tmp_path, rounds, mine):
    """Ours is a block of its own; what the user changes elsewhere in the file has to survive both ways."""
    folder = tmp_path / "tree"
    shutil.rmtree(folder, ignore_errors=True)
    root, run_dir = write(folder / "root", {"list.py": BASE_BYTES}), folder / "run"
    before = snapshot(root)
    apply(
        plan(edit("list.py", BASE_BYTES, BASE_BYTES.decode() + "ours\n"), create("m.py", CODE)),
        root,
        record_dir=run_dir,
    )
    mine = {at: kind for at, kind in mine.items() if at < 10}  # not beside ours, where a conflict is right
    user = edited(mine, "mine")
    (root / "list.py").write_bytes(user + b"ours\n")
    for index, theirs in enumerate(rounds):
        text = "".join(f"generated {index} {at} {kind}\n" for at, kind in sorted(theirs.items()))
        newer = edit("list.py", user, user.decode() + f"ours\nours {index}\n")
        assert not update(plan(newer, create("m.py", CODE + text)), root, record_dir=run_dir).conflicts
    undo(root, run_dir)
    assert (root / "list.py").read_bytes() == user
    assert set(snapshot(root)) == set(before)


def test_every_case_is_reached_by_these_tests():
    """A row that no state leads to would be a rule that nobody has."""
    some, other, third = b"a\n", b"b\n", b"c\n"
    from scaffold_tools.workspace.record import Entry

    ours = Entry("m.py", None, None, "0" * 64, 0o644)
    shared = Entry("m.py", "1" * 64, 0o644, "0" * 64, 0o644)
    marks = b"<<<<<<< yours\nx\n=======\ny\n>>>>>>> new\n"
    planned, edits_it = create("m.py", "x"), edit("m.py", b"x", "y")
    files = (
        File("m.py", some, None, None, ours, None, None),
        File("m.py", some, other, None, shared, None, None, original=third),
        File("m.py", some, some, None, ours, None, None),
        File("m.py", some, other, None, ours, None, None),
        File("m.py", some, other, other, ours, planned, None),
        File("m.py", some, None, other, ours, planned, None),
        File("m.py", None, None, other, None, edits_it, None),
        File("m.py", None, None, other, None, planned, None),
        File("m.py", None, some, other, None, planned, None),
        File("m.py", None, some, other, None, edits_it, None),
        File("m.py", some, marks, some, ours, planned, None),
        File("m.py", some, other, some, ours, planned, None),
        File("m.py", some, some, other, ours, planned, None),
        File("m.py", some, other, third, ours, planned, None),
    )
    assert [next(case.name for case in CASES if case.fits(file)) for file in files] == [case.name for case in CASES]
