"""Skills come to where agents look, and nothing of the user is ever overwritten or left behind changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cli.conftest import Scaffold, scaffold
from cli.test_faces import HEAVY, imported
from scaffold.skillpack import install as pack
from scaffold.skillpack.read import Skill, read_skills
from scaffold_tools.errors import BadInput, Refused

__all__ = ["scaffold"]
AGENTS, CLAUDE = pack.HOMES
DATA = "scaffold_tools/_data/skills"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two skills, one with references and evals."""
    folder = tmp_path / "source"
    for name in ("one", "two"):
        (folder / name / "references").mkdir(parents=True)
        text = f"---\nname: {name}\ndescription: What {name} is for.\n---\n\n# {name}\n"
        (folder / name / "SKILL.md").write_text(text, encoding="utf-8")
    with (folder / "two" / "SKILL.md").open("a", encoding="utf-8") as file:
        file.write("Read it after one, not one-two.\n")
    (folder / "one" / "references" / "more.md").write_text("more\n", encoding="utf-8")
    (folder / "one" / "evals").mkdir()
    (folder / "one" / "evals" / "evals.json").write_text("{}", encoding="utf-8")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine", encoding="utf-8")
    return folder


def skills(source: Path) -> tuple[Skill, ...]:
    return read_skills(source)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder below."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def states(files: tuple[pack.FileAt, ...]) -> set[str]:
    return {file.state for file in files}


def test_both_homes_hold_real_files_and_no_evals(root: Path, source: Path) -> None:
    assert states(pack.install(root, skills(source))) == {"create"}
    for home in pack.HOMES:
        found = {name for name in tree(root / home) if tree(root / home)[name] is not None}
        assert found == {"one/SKILL.md", "one/references/more.md", "two/SKILL.md", pack.RECORD}
        assert not any(path.is_symlink() for path in (root / home).rglob("*"))


def test_a_second_call_changes_nothing(root: Path, source: Path) -> None:
    pack.install(root, skills(source))
    before = tree(root)
    assert states(pack.install(root, skills(source))) == {"identical"}
    assert tree(root) == before


def test_removal_gives_the_folder_back(root: Path, source: Path) -> None:
    before = tree(root)
    pack.install(root, skills(source))
    assert states(pack.remove(root)) == {"removed"}
    assert tree(root) == before


def test_folders_that_were_there_before_stay(root: Path, source: Path) -> None:
    (root / CLAUDE / "mine").mkdir(parents=True)
    before = tree(root)
    pack.install(root, skills(source))
    pack.remove(root)
    assert tree(root) == before


def test_a_new_version_is_written_over_an_untouched_one_and_drops_what_is_gone(root: Path, source: Path) -> None:
    pack.install(root, skills(source))
    (source / "one" / "references" / "more.md").unlink()
    (source / "two" / "SKILL.md").write_text("---\nname: two\ndescription: New.\n---\n", encoding="utf-8")
    assert states(pack.install(root, skills(source))) == {"identical", "update", "remove"}
    assert "New." in (root / AGENTS / "two" / "SKILL.md").read_text(encoding="utf-8")
    assert not (root / AGENTS / "one" / "references").exists()
    assert states(pack.install(root, skills(source))) == {"identical"}


def test_a_changed_file_is_refused_before_anything_is_written_and_kept_on_removal(root: Path, source: Path) -> None:
    pack.install(root, skills(source))
    changed = root / AGENTS / "one" / "SKILL.md"
    changed.write_text("my own words", encoding="utf-8")
    (source / "two" / "SKILL.md").write_text("---\nname: two\ndescription: New.\n---\n", encoding="utf-8")
    before = tree(root)
    with pytest.raises(Refused, match=r"one/SKILL\.md was changed"):
        pack.install(root, skills(source))
    assert tree(root) == before
    assert states(pack.remove(root)) == {"removed", "kept"}
    assert changed.read_text(encoding="utf-8") == "my own words"
    assert not (root / CLAUDE).exists()


def test_a_skill_of_the_same_name_is_left_alone_and_ours_takes_another(root: Path, source: Path) -> None:
    theirs = root / AGENTS / "one" / "SKILL.md"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs", encoding="utf-8")
    pack.install(root, skills(source))
    assert theirs.read_text(encoding="utf-8") == "theirs"
    ours = (root / AGENTS / "scaffold-one" / "SKILL.md").read_text(encoding="utf-8")
    assert ours.startswith("---\nname: scaffold-one\n")
    pointer = (root / AGENTS / "two" / "SKILL.md").read_text(encoding="utf-8")
    assert "after scaffold-one, not one-two" in pointer  # and not to theirs
    assert (root / CLAUDE / "one" / "SKILL.md").is_file()
    assert states(pack.install(root, skills(source))) == {"identical"}
    pack.remove(root)
    assert theirs.read_text(encoding="utf-8") == "theirs"
    assert not (root / AGENTS / "scaffold-one").exists()


def test_two_homes_that_are_links_to_one_folder_are_one_home(root: Path, source: Path) -> None:
    """As in a checkout of Megatron-Bridge."""
    (root / "skills" / "one").mkdir(parents=True)
    (root / "skills" / "one" / "SKILL.md").write_text("theirs", encoding="utf-8")
    for home in pack.HOMES:
        (root / home).parent.mkdir()
        (root / home).symlink_to("../skills")
    before = tree(root)
    files = pack.install(root, skills(source))
    assert {file.path.split("/")[1] for file in files} == {"scaffold-one", "two"}
    assert all(file.path.startswith("skills/") for file in files)
    pack.remove(root)
    assert tree(root) == before


@pytest.mark.parametrize("target", ["../../outside", "/tmp", ".", ".git/hooks"])
def test_a_home_that_leads_elsewhere_is_refused(root: Path, source: Path, target: str) -> None:
    (root / ".agents").mkdir()
    (root / AGENTS).symlink_to("../" + target if target in (".", ".git/hooks") else target)
    with pytest.raises(Refused):
        pack.install(root, skills(source))
    assert not (root / CLAUDE).exists()


def test_a_file_is_not_written_through_a_link(root: Path, source: Path, tmp_path: Path) -> None:
    pack.install(root, skills(source))
    outside = tmp_path / "outside.md"
    outside.write_text("more\n", encoding="utf-8")
    inside = root / AGENTS / "one" / "references" / "more.md"
    inside.unlink()
    inside.symlink_to(outside)
    (source / "one" / "references" / "more.md").write_text("newer\n", encoding="utf-8")
    with pytest.raises(Refused, match="link"):
        pack.install(root, skills(source))
    assert outside.read_text(encoding="utf-8") == "more\n"


def test_an_interrupted_update_is_finished_by_the_next_call(
    root: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack.install(root, skills(source))
    for name in ("one", "two"):
        (source / name / "SKILL.md").write_text(f"---\nname: {name}\ndescription: New.\n---\n", encoding="utf-8")
    real, calls = pack.write_atomically, []

    def dies(path: Path, text: str) -> None:
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        real(path, text)

    monkeypatch.setattr(pack, "write_atomically", dies)
    with pytest.raises(KeyboardInterrupt):
        pack.install(root, skills(source))
    monkeypatch.undo()
    pack.install(root, skills(source))
    assert states(pack.install(root, skills(source))) == {"identical"}
    assert {path.parent.name for path in (root / AGENTS).rglob("SKILL.md")} == {"one", "two"}
    assert states(pack.remove(root)) == {"removed"}


def test_nothing_installed_and_no_folder_are_bad_input(root: Path, source: Path) -> None:
    with pytest.raises(BadInput):
        pack.remove(root)
    with pytest.raises(BadInput):
        pack.install(root / "missing", skills(source))


def test_a_skill_without_front_matter_is_bad_input(source: Path) -> None:
    (source / "one" / "SKILL.md").write_text("# one\n", encoding="utf-8")
    with pytest.raises(BadInput, match="front matter"):
        skills(source)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """What a wheel holds, put together as pyproject.toml says."""
    root = Path(__file__).resolve().parents[2]
    build = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    wanted = build["targets"]["wheel"]
    folder = tmp_path / "wheel"
    for package in wanted["packages"]:
        shutil.copytree(root / package, folder / Path(package).name, ignore=shutil.ignore_patterns("__pycache__"))
    for source, target in wanted["force-include"].items():
        shutil.copytree(root / source, folder / target)
    return folder


def test_a_wheel_brings_the_skills(wheel: Path, root: Path) -> None:
    code = "import sys, scaffold; print(scaffold.__file__); from scaffold import cli; sys.exit(cli.run(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "skills", "install", str(root)],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(wheel)},
        check=True,
    )
    assert done.stdout.startswith(str(wheel))
    assert {path.name for path in (root / CLAUDE).iterdir()} == {path.name for path in (wheel / DATA).iterdir()} | {
        pack.RECORD
    }
    skill = root / AGENTS / "closing-a-gap"
    assert (skill / "SKILL.md").read_bytes() == (wheel / DATA / "closing-a-gap" / "SKILL.md").read_bytes()
    assert not (skill / "evals").exists()


def test_the_command_lists_installs_checks_and_removes(scaffold: Scaffold, root: Path) -> None:
    assert "closing-a-gap" in {skill["name"] for skill in scaffold("skills", "list", "--json").json["skills"]}
    before = tree(root)
    assert scaffold("skills", "install", root, "--check").code == 1
    assert tree(root) == before
    assert scaffold("skills", "install", root).code == 0
    assert scaffold("skills", "install", root, "--check", "--json").code == 0
    assert scaffold("skills", "install", root, "--remove", "--check").code == 2
    assert scaffold("skills", "install", root, "--remove").code == 0
    assert tree(root) == before
    assert scaffold("skills", "install", root, "--remove").code == 2


def test_an_edit_of_the_user_is_refused_with_exit_code_4(scaffold: Scaffold, root: Path) -> None:
    scaffold("skills", "install", root)
    (root / CLAUDE / "closing-a-gap" / "SKILL.md").write_text("mine", encoding="utf-8")
    assert scaffold("skills", "install", root).code == 4
    assert scaffold("skills", "install", root, "--check").code == 4


@pytest.mark.parametrize("name", ["list", "install"])
def test_help_of_the_commands_is_as_light_as_that_of_others(name: str) -> None:
    assert imported("skills", name, "--help") & HEAVY == set()


def test_a_wrong_sub_command_is_bad_input(scaffold: Scaffold, root: Path) -> None:
    assert scaffold("skills", "add", root).code == BadInput.exit_code
    assert scaffold("skills", "install").code == BadInput.exit_code
    assert scaffold("skills", "install", root / "missing").code == BadInput.exit_code
