"""Where generated files came from, for the record of a run: enough to say, later, why they are as they are."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from scaffold.run_folder import RunFolder
from scaffold_tools.paths import data_dir
from scaffold_tools.workspace.checkout import commit_of

if TYPE_CHECKING:
    from scaffold_tools.source.inventory import Source
    from scaffold_tools.workspace.plan import Plan
    from scaffold_tools.workspace.record import Record


def provenance(source: Source, plan: Plan, folder: RunFolder, earlier: Record | None) -> dict[str, str]:
    """The inputs of a generation, by name; what is not known is left out.

    Args:
        source: the model, with the commit that it was read at.
        plan: what is written.
        folder: the run folder; its blueprint is hashed.
        earlier: the record of an earlier apply: files keep the year that they were made in.
    """
    rows = {
        "link": source.link,
        "name": source.name,
        "revision": source.revision,
        "endpoint": source.endpoint,
        "layout": plan.layout,
        "with_stubs": "yes" if plan.stub else None,
        "templates_sha256": templates_hash(plan.target),
        "blueprint_sha256": _hash_of(folder.file("blueprint")),
        "target_commit": commit_of(Path(plan.root)) if plan.layout == "checkout" else None,
        "year": str(year_of(earlier)),
    }
    return {name: value for name, value in rows.items() if value}


def year_of(record: Record | None) -> int:
    """The year for copyright lines: that of the first apply, so that January changes no file."""
    said = "" if record is None else record.inputs.get("year") or record.applied_at[:4]
    return int(said) if said.isdigit() else time.gmtime().tm_year


def templates_hash(target: str) -> str:
    """The version of a target's templates: a hash over their names and bytes."""
    root = data_dir("templates") / target.replace("-", "_")
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*.j2") if path.is_file()):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _hash_of(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
