"""Writes docs/upstream-parity.json and docs/upstream-parity.md.

    python tests/verify/upstream_parity.py [--checkout DIR [--core DIR]] [--rows FILE] [TYPE ...]

Megatron-Bridge's own integrations of causal language models, as installed in the lane and, where a checkout is given,
as that checkout has them, on the Megatron-LM that it pins (`--core`): each on the toys of its default config and of
the usual variants. What fails is located, and the fixes of `upstream_fixes.py` are applied to upstream's own class and
measured again. Rows go to FILE as they come, and a run goes on where that file ends; with names of types nothing is
written into docs.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "verify")]

from upstream_defects import defect_data, defect_lines, published_lines  # noqa: E402
from upstream_fixes import NOTES  # noqa: E402
from upstream_measure import Upstream, fixed, measure, with_own_scalars  # noqa: E402
from upstream_rows import Row, Unmeasured, add_row, data, page, read_rows  # noqa: E402

from scaffold import run_folder  # noqa: E402
from scaffold.machine import site_packages  # noqa: E402
from scaffold.matrix.variants import variants_of  # noqa: E402
from scaffold.targets import find_target  # noqa: E402
from scaffold_tools.verify.lane import LaneSession  # noqa: E402

PUBLISHED = ROOT / "tests" / "data" / "configs"
STORED = ("quantization_config", "auto_map")
TOWER = re.compile(r"(vision|image|video|audio|speech)\w*_config")


def sweep(upstream: Upstream, file: Path, only: list[str]) -> None:
    """All types that this Megatron-Bridge has an integration for; what FILE has already is not measured again."""
    target = find_target("megatron-bridge")
    profile = target.read_profile(upstream.repo, site_packages())
    done = read_rows(file)
    for listed in upstream.session.call("causal_types", {"action": "list"})["types"]:
        model_type, architecture = str(listed["model_type"]), str(listed["architecture"])
        bridge = target.supported_by(profile, architecture, None)
        if bridge is None or (only and model_type not in only):
            continue
        config = upstream.session.call("causal_types", {"action": "describe", "model_type": model_type})["config"]
        for variant, changed in [("base", config), *variants_of(config, every=False)] if config else []:
            changed = changed | {"architectures": [architecture]}
            row = Row(upstream.source, model_type, variant, bridge, "fails", config=changed)
            before = done.get(row.key)
            if before is None and (tower := _tower(config)):
                row = replace(row, outcome="not measurable", reason=f"a text model inside another one: {tower}")
            elif before is None:
                row = measure(upstream, changed, row)
            else:
                row = before
            after = with_own_scalars(upstream, fixed(upstream, row)) if row.outcome == "fails" else row
            if before is None or after != before:
                add_row(file, after)
                print(_told(after), file=sys.stderr, flush=True)


def sweep_published(upstream: Upstream, file: Path, only: list[str]) -> None:
    """The models whose config is kept here, with their own numbers."""
    target = find_target("megatron-bridge")
    profile = target.read_profile(upstream.repo, site_packages())
    done = read_rows(file)
    for path in sorted(PUBLISHED.glob("*/config.json")):
        # Weights are stored otherwise and the publisher's code is another; the numbers are what is asked here.
        config = {key: value for key, value in json.loads(path.read_text()).items() if key not in STORED}
        model_type, architecture = str(config["model_type"]), str(config["architectures"][0])
        bridge = target.supported_by(profile, architecture, None)
        if bridge is None or _tower(config) or (only and model_type not in only):
            continue
        name = path.parent.name.replace("--", "/")
        row = Row(upstream.source, model_type, name, bridge, "fails", config=config, published=True)
        before = done.get(row.key)
        after = before or measure(upstream, config, row)
        after = fixed(upstream, after) if after.outcome == "fails" else after
        if after != before:
            add_row(file, after)
            print(_told(after), file=sys.stderr, flush=True)


def _tower(config: dict[str, Any]) -> str | None:
    """The key of what makes a model take more than text."""
    return next((key for key in config if TOWER.fullmatch(key)), None)


def _told(row: Row) -> str:
    where = f"{row.culprit} {row.reason[:90]}"
    return f"{row.source:9} {row.model_type:20} {row.variant:28} {row.outcome:14} {where} {row.restored_by}"


def unmeasured(source: str, repo: Path | None, measured: set[str]) -> list[Unmeasured]:
    """Registered architectures that no row is about, each with the reason."""
    lane = site_packages()
    assert lane is not None
    models = lane / "transformers" / "models"
    code = "\n".join(path.read_text(encoding="utf-8") for path in models.glob("*/modeling_*.py"))
    classes = set(re.findall(r"^class (\w+)\(", code, re.MULTILINE))
    found = []
    for one in find_target("megatron-bridge").read_profile(repo, lane).registrations:
        if one.architecture in measured:
            continue
        here = one.architecture in classes
        why = "takes more than text" if here else "not in this transformers: the model brings its own code"
        found.append(Unmeasured(source, one.architecture, one.name, why))
    return sorted(found, key=lambda one: (one.why, one.architecture))


def _versions(session: LaneSession, repo: Path | None, core: Path | None) -> dict[str, str]:
    listed = dict(session.call("echo", {})["versions"])
    versions = {name: str(listed[name]) for name in ("megatron-bridge", "megatron-core", "transformers", "torch")}
    for name, folder in (("megatron-bridge", repo), ("megatron-core", core)):
        if folder is not None:
            versions[name] = _commit(folder)
    return versions


def _commit(folder: Path) -> str:
    git = ["git", "-C", str(folder), "log", "-1", "--format=%h of %cs"]
    found = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return found or "of a folder without history"


def main(arguments: list[str]) -> int:
    """Measure, and write the documents."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkout", type=Path)
    parser.add_argument("--core", type=Path, help="the Megatron-LM that the checkout pins")
    parser.add_argument("--rows", type=Path, default=ROOT / ".scaffold" / "upstream-parity.jsonl")
    parser.add_argument("types", nargs="*")
    given = parser.parse_args(arguments)
    given.rows.parent.mkdir(parents=True, exist_ok=True)
    fixes = given.rows.with_suffix(".fixes")
    fixes.mkdir(exist_ok=True)
    versions, left = {}, []
    for source, repo, core in (("released", None, None), ("main", given.checkout, given.core)):
        if source == "main" and repo is None:
            continue
        path = [fixes, *([core] if core else [])]
        with LaneSession(given.rows.with_suffix(".log"), extra_path=path) as session:
            versions[source] = _versions(session, repo, core)
            upstream = Upstream(source, repo, session, fixes)
            sweep(upstream, given.rows, given.types)
            sweep_published(upstream, given.rows, given.types)
        rows = [row for row in read_rows(given.rows).values() if row.source == source]
        measured = {row.config["architectures"][0] for row in rows if row.config}
        left += unmeasured(source, repo, measured)
    rows = sorted(read_rows(given.rows).values(), key=lambda row: (row.source != "released", row.model_type))
    if not given.types:
        docs = ROOT / "docs"
        found = data(rows, left, versions) | {"defects": defect_data(rows)}
        run_folder.write_atomically(docs / "upstream-parity.json", json.dumps(found, indent=1) + "\n")
        run_folder.write_atomically(
            docs / "upstream-parity.md",
            page(rows, left, versions, NOTES, [*defect_lines(rows), *published_lines(rows)]),
        )
    print(f"{sum(row.outcome == 'passes' for row in rows)} of {len(rows)} pass")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
