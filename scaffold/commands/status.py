"""`scaffold status`: how far a run is, and which planned files are there."""

from __future__ import annotations

from scaffold.options import Json, Run


def run(run: Run = None, json: Json = False) -> int:
    """How far a run is, file by file."""
    from scaffold import look, report, run_folder

    report.status(look.status(run_folder.find(run)), json=json)
    return 0
