"""`scaffold verify`: measure the integration of a run again."""

from __future__ import annotations

from scaffold.options import Json, Lane, Run, TrustRemoteCode


def run(run: Run = None, lane: Lane = "cpu", trust_remote_code: TrustRemoteCode = False, json: Json = False) -> int:
    """Measure what lies on disk now.

    Import, round trip and logits against the Hugging Face model, on toys with unusual values.
    """
    from scaffold import pipeline, report, run_folder
    from scaffold.progress import Progress

    with Progress() as progress:
        outcome = pipeline.verify_run(run_folder.find(run), progress, lane=lane, trust_remote_code=trust_remote_code)
    report.outcome(outcome, json=json)
    return outcome.exit_code
