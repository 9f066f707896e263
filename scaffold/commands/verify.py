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
Static = Annotated[
    bool,
    typer.Option("--static", help="Also map every tensor of the real model, at full size and without weights."),
]
Tp = Annotated[int, typer.Option(min=1, help="With --static: tensor parallel size that has to be possible.")]
Pp = Annotated[int, typer.Option(min=1, help="With --static: pipeline parallel size that has to be possible.")]
Ep = Annotated[int, typer.Option(min=1, help="With --static: expert parallel size that has to be possible.")]
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
    static: Static = False,
    tp: Tp = 1,
    pp: Pp = 1,
    ep: Ep = 1,
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
    from scaffold import report, run_folder, steps, verifying
    from scaffold.progress import Progress
    from scaffold_tools.errors import BadInput
    from scaffold_tools.verify.static import Layout

    if (bridge is None) != (hf is None):
        raise BadInput("--bridge and --hf go together", hint="scaffold verify --bridge module:Class --hf LINK")
    if bridge is None and (repo or path):
        raise BadInput("--repo and --path say where a --bridge lies", hint="a run knows where its own files are")
    if bridge is not None and run is not None:
        raise BadInput("give a run or a --bridge, not both")
    steps.check_lane(lane)
    split = Layout(tp, pp, ep)
    if split != Layout() and not static:
        raise BadInput("--tp, --pp and --ep go with --static")
    depth = verifying.Depth(locate, static, (split,) if split != Layout() else ())
    with Progress() as progress:
        if bridge is not None and hf is not None:
            given = verifying.HandWritten(bridge, hf, repo, path)
            outcome = verifying.verify_bridge(given, progress, depth, trust_remote_code=trust_remote_code)
        else:
            folder = run_folder.find(run)
            outcome = verifying.verify_run(folder, progress, depth, lane=lane, trust_remote_code=trust_remote_code)
    report.outcome(outcome, json=json)
    return outcome.exit_code
