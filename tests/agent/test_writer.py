"""Every write is a plan on top of the run's: all or none, its diff kept, and taken back byte for byte."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from scaffold import look
from scaffold.agent.writer import Edit, Writer
from scaffold.run_folder import RunFolder
from scaffold_tools.errors import BadInput, Refused
from scaffold_tools.workspace import apply
from support.runs import GAP, planned_run


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = planned_run(tmp_path, gaps=(GAP,))
    plan = look.load_plan(made)
    apply(plan, Path(plan.root), record_dir=made.path)
    return made


@pytest.fixture
def writer(folder: RunFolder) -> Writer:
    return Writer(look.load_plan(folder), folder)


@pytest.fixture
def family(writer: Writer) -> Path:
    return Path(writer.plan.root) / "scaffold_qwen3"


def test_changes_build_on_each_other_and_each_has_its_diff(writer: Writer, family: Path) -> None:
    first = writer.write([Edit("blocks/norm.py", "import torch")], "a block")
    second = writer.write([Edit("blocks/norm.py", find="import torch", replace="import math")], "another")
    assert (family / "blocks" / "norm.py").read_text() == "import math\n"
    assert "+++ b/scaffold_qwen3/blocks/norm.py" in first
    assert "-import torch\n+import math" in second
    kept = sorted((writer.layer / "changes").iterdir())
    assert [path.name for path in kept] == ["001.diff", "002.diff"]
    assert [path.read_text() for path in kept] == [first, second]


def test_undo_takes_back_the_agents_layer_and_then_the_generated_files(
    writer: Writer, family: Path, folder: RunFolder, tmp_path: Path
) -> None:
    writer.write([Edit("new.py", "x = 1"), Edit("qwen3_bridge.py", find="import torch", replace="import math")], "x")
    done = dict((path, what) for what, path in look.undo(folder))
    assert not family.parent.exists()
    assert done["scaffold_qwen3/new.py"] == "removed"
    assert [path.name for path in tmp_path.iterdir()] == [".scaffold"]


def test_what_the_agent_wrote_is_left_alone_by_the_same_generation_and_refused_by_another(
    writer: Writer, family: Path, folder: RunFolder
) -> None:
    writer.write([Edit("qwen3_gaps.py", "OPEN_GAPS = ()")], "x")
    plan = look.load_plan(folder)
    assert apply(plan, Path(plan.root), record_dir=folder.path).changed == ()
    changes = (replace(change, content=change.content + "# newer\n") for change in plan.changes)
    with pytest.raises(Refused, match=r"qwen3_gaps\.py"):
        apply(replace(plan, changes=tuple(changes)), Path(plan.root), record_dir=folder.path)
    assert (family / "qwen3_gaps.py").read_text() == "OPEN_GAPS = ()\n"


def test_a_file_that_the_user_changed_is_theirs(writer: Writer, family: Path) -> None:
    bridge = family / "qwen3_bridge.py"
    bridge.write_text("mine = 1\n")
    (family / "own.py").write_text("mine = 2\n")
    for name in ("qwen3_bridge.py", "own.py"):
        with pytest.raises(Refused, match="somebody else"):
            writer.write([Edit(name, "x = 1")], "x")
    assert bridge.read_text() == "mine = 1\n"


def test_links_are_not_written_through(writer: Writer, family: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim.py"
    victim.write_text("x = 1\n")
    (family / "link.py").symlink_to(victim)
    (family / "folder").symlink_to(tmp_path)
    for name in ("link.py", "folder/victim.py"):
        with pytest.raises(Refused):
            writer.write([Edit(name, "y = 2")], "x")
    assert victim.read_text() == "x = 1\n"


def test_an_edit_is_one_thing_and_fits(writer: Writer) -> None:
    for edit in (
        Edit("qwen3_gaps.py"),
        Edit("qwen3_gaps.py", "x = 1", find="x"),
        Edit("qwen3_gaps.py", find="return"),
        Edit("qwen3_gaps.py", find="", replace="x"),
        Edit("none.py", find="a", replace="b"),
    ):
        with pytest.raises(BadInput):
            writer.write([edit], "x")
    with pytest.raises(BadInput, match="two changes"):
        writer.write([Edit("a.py", "x = 1"), Edit("a.py", "x = 2")], "x")
    with pytest.raises(BadInput):
        writer.write([], "x")


def test_in_a_checkout_generated_files_may_be_changed_although_they_are_uncommitted(tmp_path: Path) -> None:
    root = tmp_path / "scaffold_qwen3"
    root.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    made = planned_run(tmp_path, gaps=(GAP,))
    plan = look.load_plan(made)
    apply(plan, root, record_dir=made.path)
    Writer(plan, made).write([Edit("qwen3_gaps.py", "OPEN_GAPS = ()")], "x")
    assert (root / "scaffold_qwen3" / "qwen3_gaps.py").read_text() == "OPEN_GAPS = ()\n"
