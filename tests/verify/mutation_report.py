"""Writes docs/verification.json and docs/verification.md: `python tests/verify/mutation_report.py`.

    mutation_report.py [--right] [--seeds N] [NAME ...]

With names, the mistakes whose names contain one of them; with `--right`, right integrations alone. Neither writes
documents. Every deliberate mistake goes through verification and through the search for the first divergence; every
integration without one goes through verification with other seeds. The exit code is 1 when a mistake is not caught, a
right integration raises an alarm, or fewer than nine in ten of the mistakes that change logits are located.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "verify")]

from generated_mutants import CONFIGS, CONTROLS, GENERATED_MUTANTS, base  # noqa: E402
from mutants import MUTANTS, Mutant, write_package  # noqa: E402
from test_verify import CONFIGS as UPSTREAM  # noqa: E402

from matrix.through import config_folder, new_model  # noqa: E402
from scaffold import run_folder  # noqa: E402
from scaffold.lane import EarlyLane  # noqa: E402
from scaffold_tools.errors import ScaffoldError  # noqa: E402
from scaffold_tools.verify.lane import LaneSession  # noqa: E402
from scaffold_tools.verify.locate import locate_divergence  # noqa: E402
from scaffold_tools.verify.run import Integration, verify_integration  # noqa: E402

GENERATED = CONFIGS | CONTROLS
SEEDS = 100
"""Runs of right integrations, spread over all of them."""
LOCATED = 0.9
"""Share of the mistakes that change logits whose module has to be named."""


@dataclass(frozen=True)
class Mutation:
    """What became of one mistake."""

    name: str
    integration: str
    caught: bool
    by: tuple[str, ...]
    """Checks that failed."""
    round_trip: str
    changes_logits: bool
    located: bool | None
    """Whether the right module was named; None where import fails before anything can be compared."""
    culprit: str
    causes: tuple[str, ...]


@dataclass(frozen=True)
class Right:
    """A right integration under one seed; weights, tokens and, every other time, the toy's sizes are others."""

    integration: str
    seed: int
    alarms: tuple[str, ...]
    logits_max_abs: float


def generate(lane: EarlyLane, folder: Path) -> None:
    """The integrations that are ours, as packages side by side in `folder`.

    Raises:
        ScaffoldError: one of them does not come out proven, so nothing could be learnt from breaking it.
    """
    for model_type, config in GENERATED.items():
        link = config_folder(folder / "models", model_type, {"model_type": model_type} | config)
        outcome = new_model(link, folder / "made" / model_type, lane)
        if not outcome.proven or outcome.gaps:
            raise ScaffoldError(f"{model_type} is not proven", hint="scaffold matrix --types says why")
        package = base(model_type).module.partition(".")[0]
        shutil.copytree(folder / "made" / model_type / "package" / package, folder / "packages" / package)


def config_of(mutant: Mutant) -> dict[str, Any]:
    """The model that the mutant's base is for."""
    architecture = mutant.base.architecture
    if mutant.base.module.startswith("megatron."):
        return UPSTREAM[architecture] | {"architectures": [architecture]}
    model_type = next(name for name, config in GENERATED.items() if config["architectures"] == [architecture])
    return {"model_type": model_type} | GENERATED[model_type]


def measure(session: LaneSession, mutant: Mutant, packages: Path) -> Mutation:
    """Verify and locate one mistake."""
    integration = Integration("package", packages, write_package(packages, mutant))
    given = {"config": config_of(mutant), "architecture": mutant.base.architecture}
    evidence = verify_integration(session, integration, variants=mutant.toys, **given)  # type: ignore[arg-type]
    failed = tuple(check.name for check in evidence.checks if check.status in ("failed", "error"))
    status = {check.name: check.status for check in evidence.checks}
    divergence = locate_divergence(session, integration, **given)  # type: ignore[arg-type]
    culprit = divergence.found.culprit if divergence.found else ""
    compared = status.get("logits.max_abs") == "failed"
    located = bool(mutant.located and re.fullmatch(mutant.located, culprit)) if compared else None
    return Mutation(
        name=mutant.name,
        integration=f"{mutant.base.module}:{mutant.base.bridge}",
        caught=not evidence.proven and bool(failed),
        by=failed,
        round_trip=status.get("round_trip.exact", "skipped"),
        changes_logits=compared,
        located=located,
        culprit=culprit,
        causes=tuple(f"{one.cause}: {one.evidence}" for one in divergence.causes),
    )


def prove(session: LaneSession, packages: Path, count: int) -> list[Right]:
    """Right integrations under `count` seeds in all."""
    of_mutants = (mutant.base for mutant in (*MUTANTS, *GENERATED_MUTANTS) if not _is_wrong(mutant))
    bases = list(dict.fromkeys((*of_mutants, *map(base, CONTROLS))))
    controls = [Mutant(f"none_{number}", base=one) for number, one in enumerate(bases)]
    modules = {control.name: write_package(packages, control) for control in controls}
    found = []
    for seed in range(count):
        control = controls[seed % len(controls)]
        evidence = verify_integration(
            session,
            Integration("package", packages, modules[control.name]),
            config=config_of(control),
            architecture=control.base.architecture,
            variants=("ab"[seed // len(controls) % 2],),
            seed=seed,
        )
        alarms = tuple(check.name for check in evidence.checks if check.status in ("failed", "error"))
        logits = [check.value for check in evidence.checks if check.name == "logits.max_abs"]
        value = max((one for one in logits if isinstance(one, float)), default=float("nan"))
        alarms += () if evidence.proven or alarms else ("nothing was compared",)
        found.append(Right(f"{control.base.module}:{control.base.bridge}", seed, alarms, value))
    return found


def _is_wrong(mutant: Mutant) -> bool:
    """Upstream's Gemma 2 is no control: the epsilon of its norms after attention and MLP is fixed."""
    return mutant.base.bridge == "Gemma2Bridge" and mutant.base.module.startswith("megatron.")


def page(mutations: list[Mutation], rights: list[Right], versions: dict[str, str], seconds: float) -> str:
    """The Markdown page."""
    caught = sum(one.caught for one in mutations)
    compared = [one for one in mutations if one.changes_logits]
    located = sum(bool(one.located) for one in compared)
    exact = sum(one.round_trip == "passed" for one in mutations)
    alarms = [one for one in rights if one.alarms]
    bases = len({one.integration for one in rights})
    largest = max((one.logits_max_abs for one in rights), default=float("nan"))
    lines = [
        "# Verification, verified",
        "",
        f"{caught} of {len(mutations)} deliberate mistakes are caught; {exact} of them leave the round trip exact."
        f" Of the {len(compared)} that change logits, the first divergence names the right module in {located}.",
        f"Right integrations under {len(rights)} seeds ({bases} integrations): {len(alarms)} alarms, largest"
        f" difference of logits {largest:.1e}. They are dense, mixtures of experts, with latent attention, with"
        " windows, with tied embeddings, and hybrid. Models that take more than text are left out: none is generated"
        " yet.",
        "",
        f"Measured with {', '.join(f'{name} {version}' for name, version in versions.items())}, in {seconds:.0f} s."
        " To repeat it: `python tests/verify/mutation_report.py`. As data: [verification.json](verification.json).",
        "",
        "| Mistake | Caught by | Round trip | First divergence | Likely |",
        "| --- | --- | --- | --- | --- |",
    ]
    for one in mutations:
        where = f"`{one.culprit}`" if one.culprit else "nothing to compare"
        where += "" if one.located is not False else " (another module was expected)"
        by = ", ".join(f"`{name}`" for name in one.by) if one.caught else "**not caught**"
        cells = (one.name.replace("_", " "), by, one.round_trip, where, "; ".join(one.causes))
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Measure all mistakes and right integrations, and write the documents; or what the arguments name."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--right", action="store_true", help="right integrations alone")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="runs of right integrations")
    parser.add_argument("names", nargs="*")
    given = parser.parse_args(arguments)
    whole = not given.names and not given.right
    every = () if given.right else (*MUTANTS, *GENERATED_MUTANTS)
    mutants = [one for one in every if not given.names or any(part in one.name for part in given.names)]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name, EarlyLane() as lane:
        folder = Path(name)
        lane.start(folder / "lane.log")
        versions = lane.call("echo", {})["versions"]
        (folder / "packages").mkdir()
        generate(lane, folder)
        mutations = []
        for mutant in mutants:
            mutations.append(measure(lane.session(), mutant, folder / "packages"))
            one = mutations[-1]
            print(
                f"{one.name:46} {'caught' if one.caught else 'MISSED':7} {one.located} {one.culprit}", file=sys.stderr
            )
        rights = prove(lane.session(), folder / "packages", 0 if given.names else given.seeds)
    for right in rights:
        if right.alarms:
            print(f"ALARM {right}", file=sys.stderr)
    seconds = time.monotonic() - started
    if whole:
        data = {
            "versions": versions,
            "not_measured": "models that take more than text: none is generated yet",
            "mutations": [asdict(one) for one in mutations],
            "right": list(map(asdict, rights)),
        }
        docs = ROOT / "docs"
        run_folder.write_atomically(docs / "verification.json", json.dumps(data, indent=1) + "\n")
        run_folder.write_atomically(docs / "verification.md", page(mutations, rights, versions, seconds))
    compared = [one for one in mutations if one.changes_logits]
    located = sum(bool(one.located) for one in compared)
    caught = sum(one.caught for one in mutations)
    alarms = sum(bool(one.alarms) for one in rights)
    print(
        f"{caught} of {len(mutations)} caught; {located} of {len(compared)} located; {alarms} alarms in {len(rights)}"
    )
    good = caught == len(mutations) and not alarms
    return 0 if good and located >= LOCATED * len(compared) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
