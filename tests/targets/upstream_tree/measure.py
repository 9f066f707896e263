"""One family: out of a copy of the checkout, back by `scaffold new-model`, then upstream's own tests."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scaffold_tools.targets.megatron_bridge.profile import read_profile
from targets.upstream_tree.adapt import Names, adapt, counterparts, imported_missing
from targets.upstream_tree.families import BLUEPRINTS, SHARED
from targets.upstream_tree.runs import Outcome, module_of, run_tests, short
from targets.upstream_tree.takeout import TakenOut, take_out

ADAPTED = "tests/unit_tests/upstream_tests"
ROOT = Path(__file__).resolve().parents[3]
KEPT = ROOT / "tests" / "data" / "blueprints"


@dataclass(frozen=True)
class Row:
    """What one family's run measured."""

    model_type: str
    architecture: str
    theirs: str
    """Upstream's bridge, "" where it has none."""
    ours: str
    exit_code: int
    """Of `scaffold new-model`: 0 is proven on the CPU."""
    checks: tuple[int, int]
    """(passed, all) checks of the proof."""
    logits: float | None
    tests: dict[str, dict[str, Any]]
    """Test -> `baseline`, `names` (ours, names adapted alone), `completed` (and configs completed), `said`."""
    missing: tuple[str, ...]
    """Upstream's names that tests import and nothing of ours stands for."""
    shared: dict[str, int]
    """`baseline`, `ours`: how many of upstream's tests of the whole tree pass; `new`: of ours alone."""
    shared_failures: dict[str, dict[str, str]]
    """Test -> `said`, `without` (status in the tree with the model taken out)."""
    shared_gone: dict[str, str]
    """Test of the whole tree that is not there with ours -> the module of upstream's that it was about, or ""."""
    own: tuple[int, int]
    """(passed, all) unit tests that were generated."""
    ruff: str
    """"" or what `ruff check` and `ruff format --check` say with upstream's settings."""
    files: int
    seconds: int


def measure(
    checkout: Path,
    model_type: str,
    config: dict[str, Any],
    baseline: dict[str, Outcome],
    work: Path,
    site_packages: Path | None,
) -> Row:
    """Run one family.

    Args:
        checkout: an untouched Megatron-Bridge; copied, never written.
        baseline: `SHARED` on the untouched checkout.
        work: an empty folder.
    """
    import time

    started = time.monotonic()
    architecture = config["architectures"][0]
    tree = work / "tree"
    shutil.copytree(checkout, tree, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", ".git"))
    taken = take_out(tree, architecture, site_packages)
    _commit(tree, started=True)
    theirs = run_tests(checkout, [path for path, _ in taken.unit_tests])
    answer = _new_model(tree, config, model_type, work)
    written = [row["path"] for row in answer.get("files", ())]
    _keep_blueprint(model_type, work)
    own = read_profile(tree, lane_site_packages=site_packages).registration(architecture)
    if own is None:
        raise RuntimeError(f"{model_type}: nothing is registered: {answer}")
    ruff = _ruff(tree, written)
    names, adapted = _adapted(tree, taken, written, (own.module, own.bridge))
    units = [path for path in written if path.startswith("tests/unit_tests/models/") and Path(path).stem != "__init__"]
    units = [path for path in units if not any(path == shared for shared in SHARED)]
    found = run_tests(tree, [*adapted, *units, *SHARED])
    plain = {name: one for name, one in found.items() if name.startswith(f"{module_of(ADAPTED)}.")}
    generated = [one for name, one in found.items() if name.partition("::")[0] in {module_of(path) for path in units}]
    shared = {name: one for name, one in found.items() if name not in plain}
    shared = {name: one for name, one in shared.items() if name.partition("::")[0] not in map(module_of, units)}
    whole = plain
    if any(one.status == "failed" for one in plain.values()):
        asked = {"module": own.module, "bridge": own.bridge, "model_type": model_type}
        whole = run_tests(tree, adapted, completing=asked)
    shutil.rmtree(tree / ADAPTED)
    failures = {name: one for name, one in shared.items() if one.status == "failed"}
    new = {name: one for name, one in failures.items() if baseline.get(name, Outcome("passed")).status == "passed"}
    without = _without(tree, sorted(new)) if new else {}
    checks = answer.get("evidence", {}).get("checks", [])
    gone = {name: about(name, taken) for name in baseline if name not in shared}
    return Row(
        model_type=model_type,
        architecture=architecture,
        theirs=taken.bridge,
        ours=own.bridge,
        exit_code=answer["exit_code"],
        checks=(sum(one["status"] == "passed" for one in checks), len(checks)),
        logits=_logits(checks),
        tests=_compared(theirs, plain, whole),
        missing=tuple(sorted({name for _, text in taken.unit_tests for name in imported_missing(text, names)})),
        shared={
            "baseline": sum(one.status == "passed" for one in baseline.values()),
            "ours": sum(one.status == "passed" for one in shared.values()),
            "new": sum(name not in baseline and one.status == "passed" for name, one in shared.items()),
            "gone": len(gone),
        },
        shared_failures={
            short(name): {"said": one.said, "without": without.get(name, Outcome("gone")).status}
            for name, one in new.items()
        },
        shared_gone={short(name): module for name, module in gone.items()},
        own=(sum(one.status == "passed" for one in generated), len(generated)),
        ruff=ruff,
        files=len(written),
        seconds=round(time.monotonic() - started),
    )


def about(test: str, taken: TakenOut) -> str:
    """The module of the model that a parameter of a test names (`test_x[module:function]`); "" where none is."""
    parameter = test.partition("[")[2].removesuffix("]")
    return next((module for module in (*taken.recipes, *taken.modules) if module == parameter.partition(":")[0]), "")


def _commit(tree: Path, started: bool = False) -> None:
    if started:
        subprocess.run(["git", "init", "-q"], cwd=tree, check=True)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com"]
    subprocess.run([*git, "add", "-A"], cwd=tree, check=True)
    subprocess.run([*git, "commit", "-q", "-m", "without the model"], cwd=tree, check=True)


def _new_model(tree: Path, config: dict[str, Any], model_type: str, work: Path) -> dict[str, Any]:
    place = work / model_type.replace("_", "-")
    place.mkdir()
    (place / "config.json").write_text(json.dumps(config))
    done = subprocess.run(
        [str(Path(sys.executable).parent / "scaffold"), "new-model", str(place), "--repo", str(tree), "--json"],
        cwd=work,
        capture_output=True,
        text=True,
    )
    try:
        answer = {**json.loads(done.stdout), "exit_code": done.returncode}
    except ValueError:
        answer = {}
    if not answer.get("files"):  # it stopped on the way: there is nothing to run tests on
        raise RuntimeError(f"{model_type}: new-model ended with {done.returncode} and said {done.stderr[-600:]}")
    return answer


def _keep_blueprint(model_type: str, work: Path) -> None:
    if model_type in BLUEPRINTS:
        (kept,) = (work / ".scaffold").glob("*/blueprint.json")
        KEPT.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kept, KEPT / f"{model_type}.json")


def _adapted(tree: Path, taken: TakenOut, written: list[str], bridge: tuple[str, str]) -> tuple[Names, list[str]]:
    """Upstream's tests with our names, in a folder of the tree: their paths."""
    modules = [
        path.removeprefix("src/").removesuffix(".py").replace("/", ".")
        for path in written
        if path.startswith("src/megatron/bridge/models/") and path.endswith(".py") and "__init__" not in path
    ]
    names = counterparts(taken, tree, modules, bridge)
    folder = tree / ADAPTED
    folder.mkdir()
    (folder / "__init__.py").touch()
    for path, text in taken.unit_tests:
        (folder / Path(path).name).write_text(adapt(text, names))
    return names, [f"{ADAPTED}/{Path(path).name}" for path, _ in taken.unit_tests]


def _compared(
    theirs: dict[str, Outcome], plain: dict[str, Outcome], whole: dict[str, Outcome]
) -> dict[str, dict[str, Any]]:
    """Each test with upstream's code, with ours, and with ours and whole configs."""
    plain, whole = ({short(name): one for name, one in found.items()} for found in (plain, whole))
    rows = {}
    for name, one in theirs.items():
        ours = plain.get(short(name), Outcome("failed", "not collected"))
        after = whole.get(short(name), ours)
        said = after.said if after.status == "failed" else ours.said
        rows[short(name)] = {"baseline": one.status, "names": ours.status, "completed": after.status, "said": said}
    return rows


def _without(tree: Path, names: list[str]) -> dict[str, Outcome]:
    """What upstream's tests of the tree say without the model: of those that fail with ours."""
    subprocess.run(["git", "stash", "-q", "-u"], cwd=tree, check=True)
    try:
        modules = {name.partition("::")[0].rpartition(".")[2] for name in names}
        files = [
            str(path.relative_to(tree))
            for shared in SHARED
            for path in ([tree / shared] if shared.endswith(".py") else sorted((tree / shared).glob("test_*.py")))
            if path.stem in modules
        ]
        return run_tests(tree, files)
    finally:
        subprocess.run(["git", "stash", "pop", "-q"], cwd=tree, check=True)


def _ruff(tree: Path, written: list[str]) -> str:
    files = [path for path in written if path.endswith(".py")]
    said = []
    for command in (("check", "--no-cache", "-q"), ("format", "--check", "--no-cache", "-q")):
        done = subprocess.run(
            [str(ROOT / ".venv" / "bin" / "ruff"), *command, "--config", "ruff.toml", *files],
            cwd=tree,
            capture_output=True,
            text=True,
        )
        said.append((done.stdout + done.stderr).strip() if done.returncode else "")
    return " ".join(" ".join(said).split())[:400]


def _logits(checks: list[dict[str, Any]]) -> float | None:
    values = [
        one["value"] for one in checks if one["name"].endswith("logits.max_abs") and isinstance(one["value"], float)
    ]
    return max(values, default=None)


def as_json(row: Row) -> dict[str, Any]:
    """A row for the record."""
    return asdict(row)
