"""`scaffold apply`: write the plan, all of it or nothing."""

from __future__ import annotations

from scaffold.options import AllowDirty, Json, Run


def run(run: Run = None, allow_dirty: AllowDirty = False, json: Json = False) -> int:
    """Write the plan, all of it or nothing."""
    from scaffold import pipeline, report, run_folder
    from scaffold.progress import Progress

    with Progress() as progress:
        outcome = pipeline.apply_plan(run_folder.find(run), progress, allow_dirty=allow_dirty)
    report.outcome(outcome, json=json)
    return outcome.exit_code
