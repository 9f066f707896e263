"""Writes docs/upstream-tests.json and docs/upstream-tests.md: `python tests/targets/upstream_tree/report.py CHECKOUT`.

    python tests/targets/upstream_tree/report.py CHECKOUT [FAMILY...] [--tables]

A family of Megatron-Bridge is taken out of a copy of a real checkout and put back by `scaffold new-model`; then
upstream's own tests of that family and of the whole tree run against ours. Families that are named are measured anew,
others keep their rows; `--tables` measures nothing and writes the documents from the record.
"""

from __future__ import annotations

import json
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
    record = json.loads(RECORD.read_text()) if RECORD.is_file() else {"baseline": {}, "rows": {}}
    if not only_tables:
        _measure(Path(words[0]).resolve(), words[1:] or list(FAMILIES), record)
    PAGE.write_text(markdown(record))
    open_ones = unexplained(record)
    print("\n".join(open_ones) or "every difference has a reason")
    return 1 if open_ones else 0


def _measure(checkout: Path, wanted: list[str], record: dict[str, Any]) -> None:
    baseline = run_tests(checkout, SHARED)
    record["baseline"] = {name: {"status": one.status, "said": one.said} for name, one in baseline.items()}
    for name, config in configs(wanted).items():
        with tempfile.TemporaryDirectory(prefix="upstream-") as work:
            try:
                row = measure(checkout, name, config, baseline, Path(work), site_packages())
            except Exception:  # the others are measured all the same
                print(f"{name}: {traceback.format_exc()[-1500:]}", file=sys.stderr)
                continue
        record["rows"][name] = as_json(row)
        record["rows"] = {key: record["rows"][key] for key in FAMILIES if key in record["rows"]}
        RECORD.write_text(json.dumps(record, indent=1) + "\n")
        passed = sum(one["completed"] == "passed" for one in row.tests.values())
        print(
            f"{name}: {passed} of {len(row.tests)}, {row.shared}, ruff {row.ruff or 'clean'}, exit {row.exit_code},"
            f" {row.seconds} s",
            flush=True,
        )


__all__ = ["Outcome", "configs", "main"]

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
