"""Skills keep to the Agent Skills specification, and the manifests to what their clients read."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import skills_ref
import strictyaml

from scaffold import cli
from scaffold.skillpack.read import front_matter, read_skills, skills_folder

from .markdown import pages

ROOT = Path(__file__).resolve().parents[2]
SKILLS = sorted(path.parent for path in (ROOT / "skills").glob("*/SKILL.md"))
NAMES = {path.name for path in SKILLS}
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
each_skill = pytest.mark.parametrize("skill", SKILLS, ids=lambda path: path.name)


def read(path: str) -> Any:
    return json.loads((ROOT / path).read_text(encoding="utf-8"))


def text_of(skill: Path) -> str:
    return (skill / "SKILL.md").read_text(encoding="utf-8")


@each_skill
def test_the_reference_validator_accepts_it(skill: Path) -> None:
    assert skills_ref.validate(skill) == []


def test_the_reference_validator_rejects_a_field_that_the_specification_lacks(tmp_path: Path) -> None:
    skill = tmp_path / "closing-a-gap"
    skill.mkdir()
    text = text_of(ROOT / "skills" / "closing-a-gap").replace("license:", "when_to_use: always\nlicense:", 1)
    (skill / "SKILL.md").write_text(text, encoding="utf-8")
    assert any("when_to_use" in problem for problem in skills_ref.validate(skill))


@each_skill
def test_our_own_reader_agrees_with_the_validator(skill: Path) -> None:
    assert front_matter(text_of(skill)) == {
        key: value for key, value in skills_ref.read_properties(skill).to_dict().items() if value
    }


@each_skill
def test_it_fits_the_budgets(skill: Path) -> None:
    text = text_of(skill)
    assert len(text.splitlines()) < 500
    assert len(text) / 4 < 5000  # tokens, at about four characters each
    description = front_matter(text)["description"]
    assert len(description) <= 1024
    assert not set("<>") & set(description)
    assert all(len(page.text.splitlines()) < 300 for page in pages(skill))
    assert all(page.text.isascii() for page in pages(skill))


@each_skill
def test_its_description_begins_with_what_people_write_and_ends_with_what_it_is_not_for(skill: Path) -> None:
    """Some clients shorten the listing after some 200 characters."""
    description = front_matter(text_of(skill))["description"]
    assert " Use when " in description
    assert " Not for " in description
    assert description.index(" Use when ") > 100


@each_skill
def test_references_are_one_level_deep_and_all_of_them_are_reached(skill: Path) -> None:
    linked = {link for page in pages(skill) if page.path.name == "SKILL.md" for link in page.links}
    there = [*(skill / "references").iterdir(), *(skill / "scripts").glob("*")]
    assert linked == {path.relative_to(skill).as_posix() for path in there if path.is_file()}


@pytest.mark.parametrize("script", sorted((ROOT / "skills").glob("*/scripts/*.py")), ids=lambda path: path.name)
def test_its_scripts_explain_themselves_and_ask_nothing(script: Path) -> None:
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, check=True)
    assert "Exit code" in done.stdout
    assert f"python {script.name} " in done.stdout  # an example
    assert "input(" not in script.read_text(encoding="utf-8")
    wrong = subprocess.run(
        [sys.executable, script, "toy", "--roll", "/nonexistent"], capture_output=True, text=True, check=False
    )
    assert (wrong.returncode, wrong.stdout) in {(2, ""), (5, "")}
    assert wrong.stderr.startswith("error: ")


@each_skill
def test_reasons_instead_of_shouting(skill: Path) -> None:
    for page in pages(skill):
        assert not re.findall(r"\b(MUST|NEVER|ALWAYS|CRITICAL|IMPORTANT)\b", page.prose), page.path.name


@each_skill
def test_it_says_that_a_models_text_is_data(skill: Path) -> None:
    assert "quoted data" in text_of(skill) or skill.name == "debugging-parity"


@each_skill
def test_skills_that_it_points_to_exist(skill: Path) -> None:
    named = set(re.findall(r"\b[a-z]+(?:-[a-z]+)+\b", front_matter(text_of(skill))["description"]))
    pointed = {name for name in named if name.split("-")[0] in {other.split("-")[0] for other in NAMES}}
    assert pointed <= NAMES


@each_skill
def test_codex_finds_its_metadata(skill: Path) -> None:
    data: Any = strictyaml.load((skill / "agents" / "openai.yaml").read_text(encoding="utf-8")).data
    assert set(data) == {"interface", "policy"}
    assert set(data["interface"]) == {"display_name", "short_description", "default_prompt"}
    assert 25 <= len(data["interface"]["short_description"]) <= 64
    assert f"${skill.name} " in data["interface"]["default_prompt"]
    assert data["policy"] == {"allow_implicit_invocation": "true"}


def test_agents_in_a_clone_find_the_skills() -> None:
    assert skills_folder() == ROOT / "skills"
    for home in (".agents/skills", ".claude/skills"):
        assert os.readlink(ROOT / home) == "../skills"
    assert {skill.name for skill in read_skills()} == NAMES


def test_the_manifests_name_this_version_and_only_what_is_there() -> None:
    for path in (".claude-plugin/plugin.json", ".codex-plugin/plugin.json"):
        manifest = read(path)
        assert manifest["name"] == "scaffold"
        assert manifest["version"] == VERSION
    assert read(".codex-plugin/plugin.json")["skills"] == "./skills/"
    for path in (".claude-plugin/marketplace.json", ".agents/plugins/marketplace.json"):
        (plugin,) = read(path)["plugins"]
        assert plugin["name"] == "scaffold"
        source = plugin["source"] if isinstance(plugin["source"], str) else plugin["source"]["path"]
        assert source == "./"


def test_the_plugin_serves_the_tools() -> None:
    (server,) = read(".claude-plugin/plugin.json")["mcpServers"].values()
    script = ROOT / server["command"].removeprefix("${CLAUDE_PLUGIN_ROOT}/")
    assert os.access(script, os.X_OK)
    assert "scaffold.cli mcp" in script.read_text(encoding="utf-8")
    assert read(".codex-plugin/plugin.json")["mcpServers"]["scaffold"] == {"command": "scaffold", "args": ["mcp"]}
    assert "mcp" in [command.name for command in cli.app.registered_commands]
