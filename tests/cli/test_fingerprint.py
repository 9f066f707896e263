"""Figures are reused only where everything that they rest on is equal."""

from __future__ import annotations

from pathlib import Path

import pytest

from scaffold import fingerprint as module
from scaffold.fingerprint import fingerprint
from scaffold_tools.verify.run import Integration


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, Path]:
    package, lane = tmp_path / "package", tmp_path / "lane"
    for folder in (package, lane):
        folder.mkdir()
    (package / "bridge.py").write_text("a = 1\n")
    (lane / "torch-2.0.dist-info").mkdir()
    return package, lane


def test_each_input_changes_it(inputs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, lane = inputs
    integration = Integration("package", package, "package")
    config = {"rms_norm_eps": 1e-6}
    seen = [fingerprint(config, integration, lane)]
    assert fingerprint(dict(config), integration, lane) == seen[0]
    (package / "README.md").write_text("prose is not under test")
    assert fingerprint(config, integration, lane) == seen[0]
    seen.append(fingerprint({"rms_norm_eps": 1e-5}, integration, lane))
    seen.append(fingerprint(config, Integration("package", package, "other"), lane))
    (package / "bridge.py").write_text("a = 2\n")
    seen.append(fingerprint(config, integration, lane))
    (package / "more.py").write_text("")
    seen.append(fingerprint(config, integration, lane))
    (lane / "torch-2.0.dist-info").rename(lane / "torch-2.1.dist-info")
    seen.append(fingerprint(config, integration, lane))
    given = {"switched": {"attention_bias": True}, "processes": True}
    for more in (given, {**given, "switched": {}}, {**given, "processes": False}, {**given, "stored": "fp8"}):
        seen.append(fingerprint(config, integration, lane, more))
    harness = tmp_path / "harness"
    harness.mkdir()
    (harness / "check.py").write_text("")
    monkeypatch.setattr(module, "harness_dir", lambda: harness)
    seen.append(fingerprint(config, integration, lane))
    assert len(set(seen)) == len(seen)
