"""Which Python verification uses, and what a machine without one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from scaffold_tools.errors import EnvironmentLacks
from scaffold_tools.verify import lane_env
from scaffold_tools.verify.lane import LaneSession


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine that has no lane."""
    monkeypatch.delenv("SCAFFOLD_LANE_PYTHON", raising=False)
    monkeypatch.setenv("SCAFFOLD_CACHE", str(tmp_path))
    return tmp_path


def test_a_missing_lane_names_the_one_command_that_installs_it(bare: Path) -> None:
    with pytest.raises(EnvironmentLacks, match="scaffold doctor --install cpu") as missing:
        lane_env.ensure_lane(install=False)
    assert missing.value.exit_code == 5
    assert list(bare.iterdir()) == []


def test_a_session_without_a_lane_fails_at_once(bare: Path) -> None:
    with pytest.raises(EnvironmentLacks), LaneSession():
        pass


def test_a_half_installed_lane_is_not_a_lane(bare: Path) -> None:
    python = lane_env.lane_dir() / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    assert lane_env.find_lane() is None
    (lane_env.lane_dir() / lane_env.STAMP).write_text("{}")
    found = lane_env.find_lane()
    assert found is not None
    assert found.python == python


def test_the_override_wins(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCAFFOLD_LANE_PYTHON", "/bin/sh")
    found = lane_env.ensure_lane(install=False)
    assert found.python == Path("/bin/sh")
    assert found.origin == "SCAFFOLD_LANE_PYTHON"


@pytest.mark.parametrize("value", ["/nowhere/python", "/tmp"])
def test_an_override_that_cannot_run_is_an_error_not_a_fallback(
    bare: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("SCAFFOLD_LANE_PYTHON", value)
    with pytest.raises(EnvironmentLacks, match="SCAFFOLD_LANE_PYTHON"):
        lane_env.find_lane()


def test_another_requirement_list_is_another_folder(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = lane_env.lane_dir()
    monkeypatch.setattr(lane_env, "REQUIREMENTS", (*lane_env.REQUIREMENTS, "one-more"))
    assert lane_env.lane_dir() != before
