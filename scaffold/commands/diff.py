"""`scaffold diff`: what the plan would change, as a unified diff."""

from __future__ import annotations

from scaffold.options import Json, Run


def run(run: Run = None, json: Json = False) -> int:
    """What the plan would change."""
    from scaffold import look, report, run_folder

    text, states = look.diff(run_folder.find(run))
    report.diff(text, states, json=json)
    return 0
