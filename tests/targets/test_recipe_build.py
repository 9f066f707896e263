"""Generated recipes build in a copy of a real checkout, from a config on disk, and pass what upstream asks of them."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.targets.megatron_bridge.plan import Options, make_plan
from scaffold_tools.targets.megatron_bridge.profile import read_profile
from targets.blueprints import qwen3, with_fact

TESTS = Path(__file__).resolve().parents[1]
STANDINS = TESTS.parent / "tools/scaffold_tools/verify/harness/standins"
UPSTREAM = (
    "tests/unit_tests/recipes/test_all_recipe_factories.py",
    "tests/unit_tests/recipes/test_recipe_environment_defaults.py",
)

pytestmark = [
    pytest.mark.lane,
    pytest.mark.skipif("SCAFFOLD_MB_REPO" not in os.environ, reason="SCAFFOLD_MB_REPO names no checkout"),
]


def deeper(layers: int) -> Blueprint:
    """The dense model with another number of layers: a size that upstream does not have."""
    blueprint = with_fact(qwen3(), "num_layers", layers)
    roles = tuple(
        row if row.layers is None else dataclasses.replace(row, layers=tuple(range(layers))) for row in blueprint.roles
    )
    return dataclasses.replace(blueprint, roles=roles)


@pytest.fixture(scope="module")
def python() -> Path:
    from scaffold_tools.verify.lane_env import ensure_lane

    return Path(ensure_lane(install=False).python)


@pytest.fixture(scope="module")
def site_packages(python: Path) -> Path:
    asked = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, site_packages: Path) -> Path:
    """A copy with 55 layers' recipes in it: a number that divides among no pipeline."""
    root = tmp_path_factory.mktemp("checkout") / "repo"
    ignored = shutil.ignore_patterns(".git", "docs", "examples", "tutorials", "functional_tests", "__pycache__")
    shutil.copytree(os.environ["SCAFFOLD_MB_REPO"], root, ignore=ignored)
    profile = read_profile(root, lane_site_packages=site_packages)
    plan = make_plan(deeper(55), root=root, profile=profile, options=Options("a/no-size", year=2026))
    for change in plan.changes:
        (root / change.path).parent.mkdir(parents=True, exist_ok=True)
        (root / change.path).write_bytes(change.content.encode("utf-8"))
    return root


def run(python: Path, root: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    path = [root / "src", root, STANDINS, TESTS / "support" / "absent_packages"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "OMP_NUM_THREADS": "1"}
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True)


def test_recipes_build_and_pass_the_tests_of_upstream(root, python):
    """Its exhaustive matrix builds every factory of the package, ours among them."""
    own = next((root / "tests/unit_tests/recipes").rglob("test_qwen3_12b_recipes.py")).relative_to(root)
    ran = run(python, root, str(own), *UPSTREAM, "-v")
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]
    assert ran.stdout.count("qwen3_12b_") > 15
    assert "test_recipe_factory_builds_config[megatron.bridge.recipes.qwen.h100.qwen3_12b:" in ran.stdout


def test_upstream_would_see_a_recipe_without_its_environment(root, python):
    factories = root / "src/megatron/bridge/recipes/qwen/h100/qwen3_12b.py"
    text = factories.read_text("utf-8")
    factories.write_text(text.replace("cfg.env_vars = {", "cfg.other = {", 1), "utf-8")
    try:
        ran = run(python, root, UPSTREAM[1])
    finally:
        factories.write_text(text, "utf-8")
    assert ran.returncode != 0 and "failed" in ran.stdout
