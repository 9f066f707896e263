"""Writes docs/acceptance.json and docs/acceptance.md: `python tests/matrix/acceptance.py`. No figure there is typed.

Each dense architecture of `cases.py` goes through the whole command twice, from its config alone and with headers of a
checkpoint of its real size. The exit code is 1 when one of them is not proven.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from matrix.cases import CASES, Case  # noqa: E402
from matrix.through import checkpoint_folder, config_folder, new_model  # noqa: E402
from scaffold import run_folder  # noqa: E402
from scaffold.lane import EarlyLane  # noqa: E402
from scaffold.matrix.case import row_of  # noqa: E402
from scaffold.matrix.values import Row  # noqa: E402
from scaffold_tools.errors import ScaffoldError  # noqa: E402
from scaffold_tools.jsonio import dumps  # noqa: E402


@dataclass(frozen=True)
class Result:
    """One case, one way."""

    case: str
    shows: str
    tensors: str
    """headers, or transformers-class: where the tensor table came from."""
    outcome: str
    logits_max_abs: float | None
    round_trip: str
    gaps: int
    reason: str
    seconds: float


def measure(case: Case, origin: str, lane: EarlyLane, folder: Path) -> Result:
    """Run one case in an empty folder."""
    started = time.monotonic()
    start = Row(case.config["model_type"], case.name, case.config["architectures"][0], "gap", "")
    try:
        if origin == "headers":
            link = checkpoint_folder(folder, case.name, case.config, lane)
        else:
            link = config_folder(folder, case.name, case.config)
        row = row_of(start, new_model(link, folder / "place", lane))
        value = json.loads((folder / "place" / run_folder.HOME / case.name / "inventory.json").read_text())
        origin = str(value["tensors"]["origin"])
    except ScaffoldError as error:
        row = Row(start.model_type, case.name, start.architecture, "gap", error.what)
    logits = [value for value in (row.logits_max_abs or {}).values() if isinstance(value, float)]
    trips = set((row.round_trip or {}).values())
    return Result(
        case=case.name,
        shows=case.shows,
        tensors=origin,
        outcome=row.outcome,
        logits_max_abs=max(logits, default=None),
        round_trip="exact" if trips == {"passed"} else ", ".join(sorted(trips)),
        gaps=row.gap_count,
        reason=row.reason,
        seconds=round(time.monotonic() - started, 1),
    )


def page(results: list[Result], versions: dict[str, str]) -> str:
    """The Markdown page."""
    proven = sum(result.outcome.startswith("proven") for result in results)
    lines = [
        "# Acceptance",
        "",
        f"{proven} of {len(results)} runs proven: {len(CASES)} configs of dense decoders, each through"
        " `scaffold new-model` from the config alone and with the headers of a checkpoint of its real size.",
        "",
        f"Measured with {', '.join(f'{name} {version}' for name, version in versions.items())}."
        " To repeat it: `python tests/matrix/acceptance.py`. As data: [acceptance.json](acceptance.json).",
        "",
        "| Case | Shows | Tensors from | Outcome | Logits, max abs | Round trip | Seconds |",
        "| --- | --- | --- | --- | ---: | --- | ---: |",
    ]
    for result in results:
        logits = "" if result.logits_max_abs is None else f"{result.logits_max_abs:.1e}"
        outcome = result.outcome if result.outcome.startswith("proven") else f"{result.outcome}: {result.reason[:120]}"
        cells = (result.case, result.shows, result.tensors, outcome, logits, result.round_trip, f"{result.seconds}")
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Measure all cases (or those that are named) and write the documents."""
    cases = [case for case in CASES if not arguments or case.name in arguments]
    results = []
    with tempfile.TemporaryDirectory() as name, EarlyLane() as lane:
        lane.start(Path(name) / "lane.log")
        versions = lane.call("echo", {})["versions"]
        for case in cases:
            for origin in ("transformers-class", "headers"):
                folder = Path(name) / f"{case.name}-{origin}"
                results.append(measure(case, origin, lane, folder))
                print(f"{case.name:26} {origin:20} {results[-1].outcome} {results[-1].reason}", file=sys.stderr)
    if not arguments:
        run_folder.write_atomically(ROOT / "docs" / "acceptance.json", dumps(results))
        run_folder.write_atomically(ROOT / "docs" / "acceptance.md", page(results, versions))
    proven = sum(result.outcome.startswith("proven") for result in results)
    print(f"{proven} of {len(results)} runs proven")
    return 0 if proven == len(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
