"""`scaffold verify`: measure the integration of a run again, or one that somebody wrote by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scaffold.options import Json, Lane, Run, TrustRemoteCode

Locate = Annotated[
    bool,
    typer.Option("--locate", help="Name the first module whose output differs, and what is likely wrong there."),
]
Bridge = Annotated[
    str | None,
    typer.Option(metavar="MODULE:CLASS", help="A bridge that somebody wrote by hand, instead of a run."),
]
Hf = Annotated[str | None, typer.Option(metavar="LINK", help="With --bridge: the model that it is for.")]
BridgeRepo = Annotated[Path | None, typer.Option(help="With --bridge: the checkout of Megatron-Bridge that has it.")]
BridgePath = Annotated[
    Path | None, typer.Option(help="With --bridge: the folder that its module is imported from [default: here].")
]


def run(
    run: Run = None,
    locate: Locate = False,
    bridge: Bridge = None,
    hf: Hf = None,
    repo: BridgeRepo = None,
    path: BridgePath = None,
    lane: Lane = "cpu",
    trust_remote_code: TrustRemoteCode = False,
    json: Json = False,
) -> int:
    """Measure what lies on disk now.

    Import, round trip and logits against the Hugging Face model, on toys with unusual values.
    """
    from scaffold import pipeline, report, run_folder, steps, verifying
    from scaffold.lane import EarlyLane
    from scaffold.progress import Progress
    from scaffold_tools.errors import BadInput

    if (bridge is None) != (hf is None):
        raise BadInput("--bridge and --hf go together", hint="scaffold verify --bridge module:Class --hf LINK")
    if bridge is None and (repo or path):
        raise BadInput("--repo and --path say where a --bridge lies", hint="a run knows where its own files are")
    if bridge is not None and run is not None:
        raise BadInput("give a run or a --bridge, not both")
    steps.check_lane(lane)
    with Progress() as progress:
        if bridge is not None and hf is not None:
            given = verifying.HandWritten(bridge, hf, repo, path)
            outcome = verifying.verify_bridge(given, progress, locate=locate, trust_remote_code=trust_remote_code)
        else:
            folder = run_folder.find(run)
            with EarlyLane() as opened:
                outcome = pipeline.verify_run(
                    folder, progress, lane=lane, trust_remote_code=trust_remote_code, session=opened
                )
                if locate:
                    divergence = verifying.locate_run(
                        folder, progress, trust_remote_code=trust_remote_code, lane=opened
                    )
                    outcome = verifying.with_divergence(outcome, divergence)
    report.outcome(outcome, json=json)
    return outcome.exit_code
