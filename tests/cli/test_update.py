"""`scaffold update`: what a user sees of it; the merge itself is tested in tests/workspace."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from scaffold import run_folder
from scaffold.provenance import templates_hash
from scaffold.run_folder import RunFolder
from support.runs import planned_run

from .conftest import Ran, Scaffold, bytes_in, run

pytestmark = pytest.mark.lane

BRIDGE = "scaffold_qwen3/qwen3_bridge.py"


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is applied and as it would be generated today."""
    place = tmp_path_factory.mktemp("applied")
    planned_run(place)
    for command in ("apply", "update"):
        ran = run(command, cwd=place)
        assert ran.code == 0, ran.err
    return place


@pytest.fixture
def folder(applied: Path, workdir: Path) -> RunFolder:
    """That run, here."""
    shutil.copytree(applied, workdir, dirs_exist_ok=True)
    made = run_folder.find(None)
    for value in ("applied", "plan"):
        text = made.file(value).read_text(encoding="utf-8")
        made.file(value).write_text(text.replace(str(applied), str(workdir)), encoding="utf-8")
    return made


@pytest.fixture
def package(folder: RunFolder, workdir: Path) -> Path:
    return workdir / "scaffold_qwen3"


def states(ran: Ran) -> dict[str, str]:
    return {file["path"]: file["status"] for file in ran.json["files"]}


def rename_in_blueprint(folder: RunFolder, old: str, new: str) -> None:
    """A fact that a person corrected."""
    file = folder.file("blueprint")
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_nothing_to_do_is_said_and_nothing_is_touched(scaffold: Scaffold, package: Path, workdir: Path) -> None:
    before = bytes_in(workdir)
    ran = scaffold("update", "--json")
    assert ran.code == 0 and set(states(ran).values()) == {"identical"}
    check = scaffold("update", "--check")
    assert check.code == 0 and "as it would be generated today" in check.out
    assert bytes_in(workdir) == before


def test_check_is_1_for_a_changed_line_and_says_which_file(scaffold: Scaffold, package: Path, workdir: Path) -> None:
    (package / BRIDGE).write_text((package / BRIDGE).read_text() + "MINE = 1\n")
    before = bytes_in(workdir)
    ran = scaffold("update", "--check")
    assert ran.code == 1 and f"skip       {BRIDGE}: changed by you" in ran.out and "drifted" in ran.out
    assert scaffold("update", "--check", "--allow-edits").code == 0
    assert bytes_in(workdir) == before


def test_an_edited_blueprint_and_an_edited_file_are_merged_and_undo_keeps_the_edit(
    scaffold: Scaffold, folder: RunFolder, package: Path, workdir: Path
) -> None:
    (package / BRIDGE).write_text((package / BRIDGE).read_text() + "\n\nMINE = 1\n")
    rename_in_blueprint(folder, '"Qwen3ForCausalLM"', '"Qwen9ForCausalLM"')
    assert scaffold("update", "--check", "--allow-edits").code == 1, "what would be generated is not what was"
    shown = scaffold("update", "--dry-run")
    assert shown.code == 0 and "+@MegatronModelBridge.register_bridge" in shown.out and "MINE" not in shown.out
    ran = scaffold("update", "--json")
    assert ran.code == 0 and states(ran)[BRIDGE] == "update"
    text = (package / BRIDGE).read_text()
    assert "MINE = 1\n" in text and "Qwen9ForCausalLM" in text and "<<<<<<<" not in text
    assert ran.json["next_commands"] == [f"scaffold verify {folder.name}"]
    assert "kept" in scaffold("undo").out
    assert [path.name for path in package.rglob("*.py")] == ["qwen3_bridge.py"]


def test_the_same_lines_changed_on_both_sides_are_exit_code_1_until_they_are_resolved(
    scaffold: Scaffold, folder: RunFolder, package: Path
) -> None:
    text = (package / BRIDGE).read_text()
    line = next(line for line in text.splitlines() if line.startswith("@MegatronModelBridge"))
    (package / BRIDGE).write_text(text.replace(line, "# mine"))
    rename_in_blueprint(folder, '"Qwen3ForCausalLM"', '"Qwen9ForCausalLM"')
    ran = scaffold("update")
    assert ran.code == 1 and f"conflict   {BRIDGE}" in ran.out and "yours" in ran.out
    assert scaffold("update").code == 1
    merged = (package / BRIDGE).read_text()
    (package / BRIDGE).write_text(
        "\n".join(part for part in merged.splitlines() if part[:7] not in ("<<<<<<<", "=" * 7, ">>>>>>>"))
    )
    assert scaffold("update").code == 0


def test_the_record_says_what_the_files_were_made_from(folder: RunFolder) -> None:
    inputs = json.loads(folder.file("applied").read_text())["inputs"]
    assert inputs["revision"] == "b" * 40 and inputs["templates_sha256"] == templates_hash("megatron-bridge")
    assert inputs["layout"] == "package" and len(inputs["blueprint_sha256"]) == 64


def test_files_keep_the_year_that_they_were_made_in(scaffold: Scaffold, package: Path) -> None:
    """Otherwise every check would fail in January."""
    bridge = package / BRIDGE
    text, changed = re.subn(r"Copyright \(c\) \d{4}", "Copyright (c) 2019", bridge.read_text())
    assert changed == 1
    bridge.write_text(text)
    ran = scaffold("update")
    assert ran.code == 0, ran.err
    assert bridge.read_text() == text
    assert scaffold("update", "--check").code == 0


def test_without_anything_applied_the_next_step_is_named(scaffold: Scaffold, workdir: Path) -> None:
    planned_run(workdir)
    ran = scaffold("update")
    assert ran.code == 2 and "scaffold apply" in ran.err


@pytest.mark.parametrize("options", [("--allow-edits",), ("--check", "--dry-run")])
def test_options_that_say_nothing_together_are_refused(
    scaffold: Scaffold, workdir: Path, options: tuple[str, ...]
) -> None:
    planned_run(workdir)
    assert scaffold("update", *options).code == 2
