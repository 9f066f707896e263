"""A gap is closed when its row is gone from the family's module on disk, which is read and never run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from scaffold.family import family_folder, open_gaps
from scaffold_tools.blueprint.facts import Gap
from scaffold_tools.workspace.plan import Change, Plan

A, B = Gap("a", "first"), Gap("b", "second", "modeling_x.py:1")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan("megatron-bridge", "package", str(tmp_path), "scaffold_x", (), (A, B), stub="x_gaps.py")


def left(plan: Plan, text: str) -> tuple[Gap, ...]:
    (Path(plan.root) / "x_gaps.py").write_text(text, encoding="utf-8")
    return open_gaps(plan)


def test_a_row_that_is_gone_is_a_closed_gap(plan: Plan) -> None:
    assert left(plan, 'OPEN_GAPS = (\n    ("a", "first"),\n    ("b", "second"),\n)\n') == (A, B)
    assert left(plan, 'OPEN_GAPS = (\n    ("b", "second"),\n)\n') == (B,)
    assert left(plan, "OPEN_GAPS = ()\n") == ()


def test_another_reason_is_another_gap(plan: Plan) -> None:
    assert left(plan, 'OPEN_GAPS = (("a", "second"),)\n') == ()


@pytest.mark.parametrize(
    "text",
    ["", "OPEN_GAPS = rows()\n", "OPEN_GAPS = (", "OPEN_GAPS = 3\n", "\x00", "import os\nos.remove('x')\n"],
    ids=["nothing", "a call", "a half", "no table", "a null", "no table but code"],
)
def test_what_cannot_be_read_closes_nothing(plan: Plan, text: str) -> None:
    assert left(plan, text) == (A, B)


def test_without_the_module_everything_is_open(plan: Plan) -> None:
    assert open_gaps(plan) == (A, B)
    assert open_gaps(dataclasses.replace(plan, stub=None)) == (A, B)


def test_the_folder_of_the_family(plan: Plan) -> None:
    def made(package: str, *paths: str) -> Plan:
        changes = tuple(Change(path, "create", "", "") for path in paths)
        return dataclasses.replace(plan, package=package, changes=changes)

    assert family_folder(made("scaffold_x")) == "scaffold_x"
    assert family_folder(made("scaffold_x", "README.md", "scaffold_x/b.py", "tests/scaffold_x.py")) == "scaffold_x"
    paths = ("docs/models/x/index.md", "tests/target/models/x/test_x.py", "src/target/models/x/x_bridge.py")
    assert family_folder(made("target.models.x", *paths[::2])) == "src/target/models/x"
    assert family_folder(made("get.models.x", paths[2])) == "get/models/x"  # half a name is another name
