"""Writes docs/upstream-parity.json and docs/upstream-parity.md: `python tests/verify/upstream_parity.py [CHECKOUT]`.

Megatron-Bridge's own integrations of causal language models, as installed in the lane and, where a checkout is given,
as that checkout has them: each on the toys of its default config and of the usual variants. What fails is located, and
where a fix of a line or two is known, that fix is applied to upstream's class and measured again.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "verify")]

from upstream_fixes import FIXES, write_fix  # noqa: E402

from scaffold import run_folder  # noqa: E402
from scaffold.lane import EarlyLane  # noqa: E402
from scaffold.machine import site_packages  # noqa: E402
from scaffold.matrix.variants import variants_of  # noqa: E402
from scaffold.targets import find_target  # noqa: E402
from scaffold_tools.verify.evidence import Evidence  # noqa: E402
from scaffold_tools.verify.lane import LaneJobFailed, LaneSession  # noqa: E402
from scaffold_tools.verify.locate import Divergence, locate_divergence  # noqa: E402
from scaffold_tools.verify.run import Integration, verify_integration  # noqa: E402

ENVIRONMENT = ("No module named", "requires CUDA", "not compiled with CUDA", "Found no NVIDIA driver", "stand-in")
"""What an error says that this machine, and not the integration, is the reason for."""


@dataclass(frozen=True)
class Row:
    """One integration of upstream on one model."""

    source: str
    """`released` or `checkout`."""
    model_type: str
    variant: str
    bridge: str
    outcome: str
    """`passes`, `fails`, `environment` (cannot be judged here)."""
    failed: tuple[str, ...] = ()
    logits_max_abs: float | None = None
    round_trip: str = ""
    reason: str = ""
    culprit: str = ""
    """First module whose output differs."""
    causes: tuple[str, ...] = ()
    fix: str = ""
    fixed: bool | None = None
    """Whether the known fix restored parity; None where none is known."""


def measure(session: LaneSession, integration: Integration, config: dict[str, Any], row: Row) -> Row:
    """Verify one integration, locate what fails, try the known fixes."""
    architecture = config["architectures"][0]
    try:
        evidence = verify_integration(session, integration, config=config, architecture=architecture)
    except LaneJobFailed as error:
        return replace(
            row, outcome="environment" if _is_environment(error.what) else "fails", reason=_short(error.what)
        )
    row = replace(row, bridge=evidence.bridge or row.bridge, **_figures(evidence))
    bad = [check for check in evidence.checks if check.status in ("failed", "error")]
    if not bad and evidence.proven:
        return replace(row, outcome="passes")
    reference = [check for check in bad if check.name.startswith("reference.")]
    first = bad[0] if bad else None
    reason = "" if first is None else f"{first.name}: {first.detail or first.value}"
    if reference or _is_environment(reason):
        return replace(row, outcome="environment", reason=_short(reason))
    row = replace(row, outcome="fails", reason=_short(reason))
    try:
        row = replace(
            row, **_located(locate_divergence(session, integration, config=config, architecture=architecture))
        )
    except LaneJobFailed as error:
        row = replace(row, reason=_short(f"{row.reason}; {error.what}"))
    return row


def fixed(session: LaneSession, row: Row, config: dict[str, Any], folder: Path) -> Row:
    """The same with the first fix that says it is for this failure, applied to upstream's own class."""
    for fix in FIXES:
        if row.model_type not in fix.types or (fix.variants and row.variant not in fix.variants):
            continue
        module = write_fix(folder, fix, row.bridge, config["architectures"][0], row.variant)
        evidence = verify_integration(
            session, Integration("package", folder, module), config=config, architecture=config["architectures"][0]
        )
        row = replace(row, fix=fix.words, fixed=evidence.proven)
        if row.fixed:
            break
    return row


def _figures(evidence: Evidence) -> dict[str, Any]:
    bad = tuple(dict.fromkeys(check.name for check in evidence.checks if check.status in ("failed", "error")))
    logits = [check.value for check in evidence.checks if check.name == "logits.max_abs"]
    trips = {check.status for check in evidence.checks if check.name == "round_trip.exact"}
    return {
        "failed": bad,
        "logits_max_abs": max((one for one in logits if isinstance(one, float)), default=None),
        "round_trip": "exact" if trips == {"passed"} else ", ".join(sorted(trips)),
    }


def _located(divergence: Divergence) -> dict[str, Any]:
    found = divergence.found
    causes = tuple(f"{one.cause}: {one.evidence}" for one in divergence.causes)
    return {"culprit": found.culprit if found else "", "causes": causes}


def _is_environment(text: str) -> bool:
    return any(word in text for word in ENVIRONMENT)


def _short(text: str) -> str:
    return re.sub(r"/\S*/site-packages/|/tmp/\S*?/", "", " ".join(text.split()))[:300]


def sweep(source: str, repo: Path | None, lane: EarlyLane, folder: Path, only: list[str]) -> list[Row]:
    """All types that this Megatron-Bridge has an integration for."""
    target = find_target("megatron-bridge")
    profile = target.read_profile(repo, site_packages())
    integration = Integration("installed") if repo is None else Integration("checkout", repo)
    rows = []
    for listed in lane.call("causal_types", {"action": "list"})["types"]:
        model_type = str(listed["model_type"])
        if only and model_type not in only:
            continue
        described = lane.call("causal_types", {"action": "describe", "model_type": model_type})
        config = described.get("config")
        bridge = target.supported_by(profile, described["architecture"]) if config else None
        if bridge is None:
            continue
        for variant, changed in [("base", config), *variants_of(config, every=False)]:
            changed = changed | {"architectures": [described["architecture"]]}
            row = measure(lane.session(), integration, changed, Row(source, model_type, variant, bridge, ""))
            if row.outcome == "fails" and repo is None:
                row = fixed(lane.session(), row, changed, folder / f"{model_type}-{len(rows)}")
            rows.append(row)
            print(
                f"{source:9} {model_type:20} {variant:32} {row.outcome:12} {row.culprit} {row.reason[:90]}",
                file=sys.stderr,
            )
    return rows


def page(rows: list[Row], versions: dict[str, str], seconds: float) -> str:
    """The Markdown page."""
    lines = ["# Parity of Megatron-Bridge's own integrations", ""]
    for source in dict.fromkeys(row.source for row in rows):
        mine = [row for row in rows if row.source == source]
        passing = sum(row.outcome == "passes" for row in mine)
        types = {row.model_type for row in mine}
        whole = sum(all(row.outcome == "passes" for row in mine if row.model_type == one) for one in types)
        silent = sum(row.outcome == "fails" and row.round_trip == "exact" for row in mine)
        aside = sum(row.outcome == "environment" for row in mine)
        lines += [
            f"{source}: {passing} of {len(mine)} models pass ({len(types)} types and their usual variants;"
            f" {whole} types pass in all). {silent} fail with an exact round trip."
            f" {aside} cannot be judged on this machine.",
            "",
        ]
    lines += [
        f"Measured with {', '.join(f'{name} {version}' for name, version in versions.items())}, in {seconds:.0f} s,"
        " on toys whose every scalar is unusual: what fails here may be right for the published checkpoint whose"
        " numbers are the defaults. To repeat it: `python tests/verify/upstream_parity.py [CHECKOUT]`."
        " As data: [upstream-parity.json](upstream-parity.json).",
        "",
        "| Source | Type | Variant | Outcome | Logits, max abs | Round trip | First divergence | Cause | Fix tried |",
        "| --- | --- | --- | --- | ---: | --- | --- | --- | --- |",
    ]
    for row in rows:
        logits = "" if row.logits_max_abs is None else f"{row.logits_max_abs:.1e}"
        cause = "; ".join(row.causes) or row.reason
        tried = "" if row.fixed is None else f"{row.fix}: {'parity restored' if row.fixed else 'not enough'}"
        where = f"`{row.culprit}`" if row.culprit else ""
        cells = (row.source, row.model_type, row.variant, row.outcome, logits, row.round_trip, where, cause, tried)
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Measure and write the documents; with names of types, those alone, and nothing is written."""
    repos = [Path(one) for one in arguments if Path(one).is_dir()]
    only = [one for one in arguments if not Path(one).is_dir()]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name, EarlyLane() as lane:
        lane.start(Path(name) / "lane.log")
        versions = lane.call("echo", {})["versions"]
        rows = sweep("released", None, lane, Path(name), only)
        for repo in repos:
            rows += sweep("checkout", repo, lane, Path(name), only)
    if not only:
        docs = ROOT / "docs"
        data = {"versions": versions, "rows": [asdict(row) for row in rows]}
        run_folder.write_atomically(docs / "upstream-parity.json", json.dumps(data, indent=1) + "\n")
        run_folder.write_atomically(docs / "upstream-parity.md", page(rows, versions, time.monotonic() - started))
    print(f"{sum(row.outcome == 'passes' for row in rows)} of {len(rows)} pass")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
