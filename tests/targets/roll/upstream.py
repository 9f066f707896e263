"""Writes docs/roll-upstream.json and docs/roll-upstream.md: what the templates of a ROLL checkout measure.

    python tests/targets/roll/upstream.py ROLL [--revision TEXT] [TYPE ...]

Each case of `upstream_rows.py` goes through the whole proof; where it fails and a fix is known, the fixed template
goes through it as well. With names of types the rows of the others stay as they are.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tests")]

from scaffold_tools.verify.lane import LaneJobFailed, LaneSession  # noqa: E402
from targets.roll.proof_configs import config_of  # noqa: E402
from targets.roll.proof_packages import Change  # noqa: E402
from targets.roll.proof_run import integration, prove  # noqa: E402
from targets.roll.upstream_rows import CASES, Case  # noqa: E402

BAD = ("failed", "error")
PAGE = ROOT / "docs" / "roll-upstream.md"
DATA = PAGE.with_suffix(".json")
HEAD = """# ROLL's own templates, measured

Written by `python tests/targets/roll/upstream.py ROLL`; do not edit.

{passing} of {total} cases pass the whole proof of [docs/roll.md](roll.md).
Measured: {versions}.
Nothing of the checkout is changed: where a fix is known, a package takes the template's place, and the whole proof
runs again. A case that a fault of the same template would hide is measured with that fault made right.

| Model | Case | Round trip | Logits off by | Split off by | What fails | Why | With the fix |
|---|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Row:
    """What one case measured."""

    model_type: str
    case: str
    proven: bool
    round_trip: str
    """`exact`, `not exact`, or `none` where nothing was exported."""
    logits: float | None
    sharded_logits: float | None
    """The largest over all splits."""
    failed: tuple[str, ...]
    """Checks, the first one first."""
    detail: str
    """Of the first check that failed."""
    cause: str
    restored: bool | None
    """Whether the fix makes the whole proof pass; None where none is known or nothing fails."""


def measure(lane: LaneSession, repo: Path, case: Case, folder: Path, change: Change | None) -> Row:
    """One proof."""
    config = config_of(case.model_type, **case.changes)
    found = integration(repo, folder / "package", "changed", case.model_type, change)
    options: dict[str, Any] = {"variants": ("a", "b"), "layouts": "few"}
    try:
        checks = prove(lane, found, config, folder / "work", **options)
    except LaneJobFailed as error:
        checks = [{"name": "build.megatron", "status": "error", "value": None, "detail": error.message, "toy": ""}]
    bad = [check for check in checks if check["status"] in BAD]
    trips = {check["status"] for check in checks if check["name"] == "round_trip.exact"}
    return Row(
        model_type=case.model_type,
        case=case.name,
        proven=not bad,
        round_trip="not exact" if trips & set(BAD) else "exact" if "passed" in trips else "none",
        logits=_largest(checks, "logits.max_abs"),
        sharded_logits=_largest(checks, "sharded.logits"),
        failed=tuple(dict.fromkeys(check["name"] for check in bad)),
        detail=bad[0]["detail"].replace(f"{repo}/", "")[:300] if bad else "",
        cause=case.cause if bad else "",
        restored=None,
    )


def _largest(checks: list[dict[str, Any]], name: str) -> float | None:
    found = [check["value"] for check in checks if check["name"] == name]
    numbers = [value for value in found if isinstance(value, float)]
    return max(numbers) if numbers else None


def measured(lane: LaneSession, repo: Path, case: Case) -> Row:
    """A case as it is, and with its fix where it fails."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        row = measure(lane, repo, case, Path(one), case.given)
        if row.proven or case.fix is None:
            return row
        fixed = measure(lane, repo, case, Path(other), case.fix)
        if not fixed.proven:
            print(f"  with the fix: {', '.join(fixed.failed)}: {fixed.detail}", file=sys.stderr)
        return Row(**{**asdict(row), "restored": fixed.proven})


def page(rows: list[Row], versions: str) -> str:
    """The table."""
    lines = []
    for row in rows:
        cells = (
            f"`{row.model_type}`",
            row.case,
            row.round_trip,
            _figure(row.logits),
            _figure(row.sharded_logits),
            ", ".join(f"`{name}`" for name in row.failed[:3]) + (" and more" if len(row.failed) > 3 else ""),
            row.cause or row.detail.replace("|", "/")[:120],
            {True: "proven", False: "still fails", None: ""}[row.restored],
        )
        lines.append(f"| {' | '.join(cells)} |")
    passing = sum(row.proven for row in rows)
    head = HEAD.format(passing=passing, total=len(rows), versions=versions)
    return head + "\n".join(lines) + "\n"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"


def main(arguments: list[str]) -> int:
    """Measure, and write the page and its data."""
    parser = argparse.ArgumentParser()
    parser.add_argument("repo", type=Path, metavar="ROLL")
    parser.add_argument("--revision", help="what the page calls the checkout [default: its commit]")
    parser.add_argument("types", nargs="*", metavar="TYPE")
    options = parser.parse_intermixed_args(arguments)
    repo, types = options.repo.resolve(), options.types
    rows = []
    with LaneSession() as lane:
        echoed = lane.call("echo", {})["versions"]
        for case in CASES:
            if not types or case.model_type in types:
                rows.append(measured(lane, repo, case))
                state = "passes" if rows[-1].proven else f"fails {rows[-1].failed[0]}, restored: {rows[-1].restored}"
                print(f"{case.model_type}, {case.name}: {state}", file=sys.stderr, flush=True)
                if not rows[-1].proven:
                    print(f"  {rows[-1].detail}", file=sys.stderr, flush=True)
    ask = ["git", "-C", str(repo), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip()
    revision = options.revision or commit or "no commit"
    versions = f"ROLL {revision}, megatron-core {echoed['megatron-core']}, transformers {echoed['transformers']}"
    kept = [row for row in _stored() if row.model_type not in {row.model_type for row in rows}]
    order = [(case.model_type, case.name) for case in CASES]
    known = [row for row in (*kept, *rows) if (row.model_type, row.case) in order]
    rows = sorted(known, key=lambda row: order.index((row.model_type, row.case)))
    PAGE.write_text(page(rows, versions), encoding="utf-8")
    data = {"versions": echoed, "roll": revision, "rows": [asdict(row) for row in rows]}
    DATA.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return 0


def _stored() -> list[Row]:
    if not DATA.exists():
        return []
    return [Row(**{**row, "failed": tuple(row["failed"])}) for row in json.loads(DATA.read_text())["rows"]]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
