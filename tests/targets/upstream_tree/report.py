"""Writes docs/upstream-tests.json and docs/upstream-tests.md: `python tests/targets/upstream_tree/report.py CHECKOUT`.

    python tests/targets/upstream_tree/report.py CHECKOUT [FAMILY...] [--tables]

A family of Megatron-Bridge is taken out of a copy of a real checkout and put back by `scaffold new-model`; then
upstream's own tests of that family and of the whole tree run against ours. Families that are named are measured anew,
others keep their rows; `--tables` measures nothing and writes the documents from the record.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "tools"), str(ROOT / "tests")]

from scaffold.machine import site_packages  # noqa: E402
from scaffold_tools.verify.lane import LaneSession  # noqa: E402
from targets.upstream_tree.families import FAMILIES, PUBLISHED, SHARED  # noqa: E402
from targets.upstream_tree.measure import as_json, measure  # noqa: E402
from targets.upstream_tree.runs import Outcome, run_tests  # noqa: E402
from targets.upstream_tree.tables import markdown, unexplained  # noqa: E402

RECORD = ROOT / "docs" / "upstream-tests.json"
PAGE = ROOT / "docs" / "upstream-tests.md"


def configs(wanted: list[str]) -> dict[str, dict[str, Any]]:
    """config.json of the defaults of each type's class, with its architecture."""
    with LaneSession() as lane:
        found = {name: lane.call("causal_types", {"action": "describe", "model_type": name}) for name in wanted}
    return {name: {**answer["config"], **PUBLISHED.get(name, {})} for name, answer in found.items()}


def main(arguments: list[str]) -> int:
    """Measure, write, say what has no reason yet. Exit code 1 where something has none."""
    only_tables = "--tables" in arguments
    words = [word for word in arguments if not word.startswith("--")]
    if not only_tables:
        _measure(Path(words[0]).resolve(), words[1:] or list(FAMILIES))
    record = read_record(RECORD)
    PAGE.write_text(markdown(record))
    open_ones = unexplained(record)
    print("\n".join(open_ones) or "every difference has a reason")
    return 1 if open_ones else 0


def read_record(place: Path) -> dict[str, Any]:
    """What was measured so far, `{"baseline", "rows"}`."""
    return json.loads(place.read_text()) if place.is_file() else {"baseline": {}, "rows": {}}


def put_row(place: Path, name: str, row: dict[str, Any], baseline: dict[str, Outcome]) -> None:
    """Replace one family's row of the record, as it is on disk now: minutes passed since this run began.

    Another run may have written its own rows meanwhile, so what was read at the start is never written back.
    """
    folder = os.open(place.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        record = read_record(place)
        rows = {**record["rows"], name: row}
        record = {
            "baseline": {test: {"status": one.status, "said": one.said} for test, one in baseline.items()},
            "rows": {key: rows[key] for key in FAMILIES if key in rows},
        }
        place.write_text(json.dumps(record, indent=1) + "\n")
    finally:
        os.close(folder)


def _measure(checkout: Path, wanted: list[str]) -> None:
    baseline = run_tests(checkout, SHARED)
    for name, config in configs(wanted).items():
        with tempfile.TemporaryDirectory(prefix="upstream-") as work:
            try:
                row = measure(checkout, name, config, baseline, Path(work), site_packages())
            except Exception:  # the others are measured all the same
                print(f"{name}: {traceback.format_exc()[-1500:]}", file=sys.stderr)
                continue
        put_row(RECORD, name, as_json(row), baseline)
        passed = sum(one["completed"] == "passed" for one in row.tests.values())
        print(
            f"{name}: {passed} of {len(row.tests)}, {row.shared}, ruff {row.ruff or 'clean'}, exit {row.exit_code},"
            f" {row.seconds} s",
            flush=True,
        )


__all__ = ["Outcome", "configs", "main", "put_row", "read_record"]

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
