"""How an integration into ROLL gets measured: by which jobs, with which checkout, and what is said without one."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from scaffold.fingerprint import fingerprint
from scaffold.proving import existing_integration, integration_of
from scaffold.targets import TARGETS, find_target
from scaffold_tools.errors import EnvironmentLacks
from scaffold_tools.paths import harness_dir
from scaffold_tools.verify.lane import LaneSession
from scaffold_tools.verify.locate import locate_divergence
from scaffold_tools.verify.processes import verify_processes
from scaffold_tools.verify.roll import ROLL_JOBS, VARIABLE, roll_checkout
from scaffold_tools.verify.run import Integration, verify_integration
from scaffold_tools.verify.static import Layout, verify_static
from scaffold_tools.workspace.plan import Plan
from targets.roll.proof_configs import config_of

REPO = os.environ.get(VARIABLE)
checkout = pytest.mark.skipif(not REPO, reason=f"{VARIABLE} names no checkout of ROLL, and no registry has it")


@pytest.fixture
def roll(tmp_path: Path) -> Path:
    """A folder that looks like a checkout."""
    (tmp_path / "ROLL/mcore_adapter/src/mcore_adapter/models").mkdir(parents=True)
    return tmp_path / "ROLL"


def _plan(layout: str, root: Path) -> Plan:
    return Plan("roll", layout, str(root), "scaffold_heron", ())  # type: ignore[arg-type]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_every_job_that_a_target_names_is_in_the_harness(target: object) -> None:
    for job in vars(target.jobs).values():  # type: ignore[attr-defined]
        file = harness_dir() / "jobs" / f"{job}.py"
        defined = {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}
        assert "run" in defined, file


def test_a_checkout_is_measured_with_itself(roll: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/somewhere/else")
    found = integration_of(_plan("checkout", roll))
    assert found.jobs == ROLL_JOBS
    assert found.framework == found.path == roll


def test_a_package_is_measured_with_the_checkout_that_is_named(
    roll: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(roll))
    found = integration_of(_plan("package", tmp_path / "package"))
    assert (found.kind, found.module, found.framework) == ("package", "scaffold_heron", roll)
    assert found.as_request()["framework"] == str(roll.resolve())


def test_what_roll_has_already_is_measured_in_a_checkout(roll: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(roll))
    found = existing_integration(find_target("roll"), None)
    assert (found.kind, found.path, found.jobs) == ("checkout", roll, ROLL_JOBS)


def test_without_a_checkout_one_line_says_how_to_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(EnvironmentLacks, match=f"no checkout of it is named.*{VARIABLE}") as raised:
        integration_of(_plan("package", tmp_path))
    assert raised.value.exit_code == 5


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvironmentLacks, match="is no checkout of ROLL"):
        roll_checkout(tmp_path)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(EnvironmentLacks, match="is no checkout of ROLL"):
        roll_checkout(None)


def test_figures_are_not_reused_when_the_checkout_has_changed(roll: Path, tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    found = Integration("package", package, "package", jobs=ROLL_JOBS, framework=roll)
    before = fingerprint({}, found, None)
    (roll / "mcore_adapter/src/mcore_adapter/models/new.py").write_text("x = 1\n")
    assert fingerprint({}, found, None) != before


@checkout
@pytest.mark.lane
def test_a_right_template_passes_everything_and_is_split_three_ways(lane: LaneSession) -> None:
    config = config_of("mixtral")
    given = {"config": config, "architecture": config["architectures"][0]}
    evidence = verify_integration(lane, _own(), **given)
    assert evidence.proven, [check for check in evidence.checks if check.status in ("failed", "error")]
    assert evidence.bridge == "mcore_adapter.models.mixtral:mixtral"
    split = verify_processes(lane, _own(), **given)
    assert not [check for check in split if check.status in ("failed", "error")]
    assert len({check.toy for check in split if check.name == "sharded.export" and check.status == "passed"}) >= 3


@checkout
@pytest.mark.lane
def test_a_rotated_share_that_is_fixed_is_located_in_the_attention(lane: LaneSession) -> None:
    config = config_of("glm4_moe", partial_rotary_factor=0.25)
    found = locate_divergence(lane, _own(), config=config, architecture=config["architectures"][0])
    assert found.found is not None
    assert found.found.culprit == "decoder.layers.0.self_attention"
    assert [cause.cause for cause in found.causes] == ["rotary embedding"]


@checkout
@pytest.mark.lane
def test_the_real_table_of_tensors_goes_through_a_template(lane: LaneSession) -> None:
    from scaffold_tools.source.inventory import TensorInfo, TensorTable

    config = config_of("mixtral", num_hidden_layers=4)
    rows = lane.call("tensor_table", {"config": config, "architecture": config["architectures"][0]})
    tensors = tuple(TensorInfo(**{**row, "shape": tuple(row["shape"])}) for row in rows["tensors"])
    table = TensorTable(tensors, "transformers-class")
    given = {"config": config, "architecture": config["architectures"][0], "layouts": [Layout(2, 2, 2)]}
    whole = verify_static(lane, _own(), tensors=table, **given)
    assert {check.name: check.status for check in whole} == {
        f"static.{name}": "passed" for name in ("build", "produced", "consumed", "shapes", "layout")
    }
    short = TensorTable(tensors[:-1], "transformers-class")
    bad = {check.name for check in verify_static(lane, _own(), tensors=short, **given) if check.status == "failed"}
    assert "static.produced" in bad


def _own() -> Integration:
    return Integration("checkout", roll_checkout(None), jobs=ROLL_JOBS, framework=roll_checkout(None))
