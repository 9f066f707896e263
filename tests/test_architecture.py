"""Imports go one way: scaffold -> scaffold_tools; inside, targets -> blueprint, render, edit; the harness is alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / "tools" / "scaffold_tools"

ALLOWED = {
    "source": {"source"},
    "classify": {"classify", "source"},
    "blueprint": {"blueprint", "classify", "source"},
    "render": {"render"},
    "edit": {"edit"},
    "workspace": {"workspace", "blueprint"},
    "verify": {"verify", "blueprint", "source"},
    "targets": {"targets", "blueprint", "render", "edit", "workspace"},
}
"""Package -> packages that it may import; modules at the top (errors, jsonio, paths) are open to all."""

CONTRACT = {
    "scaffold_tools.blueprint.facts",
    "scaffold_tools.blueprint.vocabulary",
    "scaffold_tools.classify.evidence",
    "scaffold_tools.source.trust",
    "scaffold_tools.verify.evidence",
}
"""Types, and checks of hostile names, that stages on both sides share; they import no stage, only each other."""

COMMANDS = {"source/derive.py"}
"""Modules with a `main` of their own, which put stages together as the pipeline does."""


def imports(text: str, *, allow_relative: bool = False) -> Iterator[str]:
    """Absolute module names that a source imports, lazily or not."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                assert allow_relative, "a relative import hides the direction"
                continue
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "harness" not in path.parts)


def wrong_imports(package: str, text: str) -> list[str]:
    """Imports of `text`, a module of `package`, that go the wrong way."""
    wrong = []
    for name in imports(text):
        if name == "scaffold" or name.startswith("scaffold."):
            wrong.append(name)
        if match := re.fullmatch(r"scaffold_tools\.(\w+)(\..*)?", name):
            inner = match[1]
            if any(name == shared or name.startswith(f"{shared}.") for shared in CONTRACT):
                continue
            if inner in ALLOWED and inner not in ALLOWED[package]:
                wrong.append(name)
    return wrong


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_each_package_imports_only_what_lies_before_it(package: str) -> None:
    found = {
        str(path.relative_to(TOOLS)): wrong
        for path in sources(TOOLS / package)
        if path.relative_to(TOOLS).as_posix() not in COMMANDS
        and (wrong := wrong_imports(package, path.read_text(encoding="utf-8")))
    }
    assert not found


def test_a_reversed_import_is_seen() -> None:
    assert wrong_imports("blueprint", "from scaffold_tools.targets.megatron_bridge import plan")
    assert wrong_imports("render", "def f():\n    import scaffold_tools.blueprint.derive")
    assert wrong_imports("verify", "from scaffold import pipeline")
    assert not wrong_imports("targets", "from scaffold_tools.blueprint.facts import Blueprint")


def test_the_shared_types_import_nothing_of_a_stage() -> None:
    for name in sorted(CONTRACT):
        path = TOOLS.parent.joinpath(*name.split(".")).with_suffix(".py")
        names = [name.split(".") for name in imports(path.read_text(encoding="utf-8"))]
        ours = {".".join(name) for name in names if name[0] == "scaffold_tools" and name[1:2] != ["errors"]}
        assert not {one for one in ours if not one.startswith(tuple(CONTRACT))}


def test_every_package_of_the_tools_has_its_row() -> None:
    assert {path.name for path in TOOLS.iterdir() if (path / "__init__.py").is_file()} == set(ALLOWED)


def test_the_harness_imports_nothing_of_ours() -> None:
    for path in sorted((TOOLS / "verify" / "harness").rglob("*.py")):
        names = set(imports(path.read_text(encoding="utf-8"), allow_relative=True))
        assert not {name for name in names if name.split(".")[0] in ("scaffold", "scaffold_tools")}, path


def test_models_and_frameworks_are_unknown_to_the_faces() -> None:
    """`scaffold/` reaches a target through the table in `scaffold/targets.py` alone."""
    for path in sources(ROOT / "scaffold"):
        names = set(imports(path.read_text(encoding="utf-8")))
        reaching = {name for name in names if name.startswith("scaffold_tools.targets.")}
        assert not reaching or path.name == "targets.py", path
        assert not names & {"torch", "transformers", "megatron"}, path


def test_nothing_but_the_command_line_prints() -> None:
    for path in sources(TOOLS):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
        assert not [node.lineno for node in calls if node.func.id in ("print", "input")], path


def test_the_map_of_the_code_names_what_is_there() -> None:
    page = (ROOT / "docs" / "how-it-works.md").read_text(encoding="utf-8")
    part = page.split("## Where the code lies")[1].split("\n## ")[0]
    for table in part.strip().split("\n\n"):
        home, *rows = (re.findall(r"`([^`]+)`", line.split("|")[1]) for line in table.splitlines())
        assert rows
        for name in (name for row in rows for name in row):
            assert (ROOT / home[0] / name).exists(), name
