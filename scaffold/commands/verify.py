"""`scaffold verify`: measure the integration of a run again, or one that somebody wrote by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scaffold.options import Json, Run, TrustRemoteCode

Locate = Annotated[
    bool,
    typer.Option("--locate", help="Name the first module whose output differs, and what is likely wrong there."),
]
Static = Annotated[
    bool,
    typer.Option(
        "--static",
        help="Map every tensor of the real model, at full size and without weights, also where no header was read.",
    ),
]
Keys = Annotated[
    bool, typer.Option("--keys", help="Also change config keys one by one: both models have to move alike.")
]
Sharded = Annotated[
    bool,
    typer.Option(
        "--sharded", help="Split a toy over processes in each usual way that the model can take; save and load it."
    ),
]
Tp = Annotated[int, typer.Option(min=1, help="Tensor parallel size: real processes; with --static, arithmetic.")]
Pp = Annotated[int, typer.Option(min=1, help="Pipeline parallel size, in the same way.")]
Ep = Annotated[int, typer.Option(min=1, help="Expert parallel size, in the same way.")]
Cp = Annotated[int, typer.Option(min=1, help="Context parallel size, of real processes.")]
Vpp = Annotated[int, typer.Option(min=1, help="Chunks of layers a pipeline stage, of real processes.")]
Sp = Annotated[bool, typer.Option("--sp", help="With --tp: sequence parallel, too.")]
Lane = Annotated[
    str,
    typer.Option(help="cpu: parity in fp32, which decides; gpu, gpu-multi: bf16 on GPUs, with torchrun."),
]
Slurm = Annotated[bool, typer.Option("--slurm", help="Print a script for sbatch that runs the GPU lanes, and stop.")]
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
    keys: Keys = False,
    sharded: Sharded = False,
    tp: Tp = 1,
    pp: Pp = 1,
    ep: Ep = 1,
    cp: Cp = 1,
    vpp: Vpp = 1,
    sp: Sp = False,
    bridge: Bridge = None,
    hf: Hf = None,
    repo: BridgeRepo = None,
    path: BridgePath = None,
    lane: Lane = "cpu",
    slurm: Slurm = False,
    trust_remote_code: TrustRemoteCode = False,
    json: Json = False,
) -> int:
    """Measure what lies on disk now.

    Import, round trip and logits against the Hugging Face model, on toys with unusual values.
    """
    from scaffold import gpu_lane, report, run_folder, verifying
    from scaffold.progress import Progress
    from scaffold_tools.errors import BadInput
    from scaffold_tools.verify.static import Layout

    if (bridge is None) != (hf is None):
        raise BadInput("--bridge and --hf go together", hint="scaffold verify --bridge module:Class --hf LINK")
    if bridge is None and (repo or path):
        raise BadInput("--repo and --path say where a --bridge lies", hint="a run knows where its own files are")
    if bridge is not None and run is not None:
        raise BadInput("give a run or a --bridge, not both")
    gpu_lane.check_lane(lane)
    split = Layout(tp, pp, ep, cp, vpp, sp)
    split.check()
    if lane != "cpu" and (locate or static or keys or sharded or split != Layout()):
        raise BadInput("--locate, --static, --keys, --sharded and sizes of layouts are of the cpu lane")
    given = None if bridge is None or hf is None else verifying.HandWritten(bridge, hf, repo, path)
    if slurm:
        if given is None:
            folder = run_folder.find(run)
            report.script(gpu_lane.slurm_script(folder.name, gpu_lane.command_of(folder.name), lane))
        else:
            report.script(gpu_lane.slurm_script(given.hf, gpu_lane.command_of(given), lane))
        return 0
    depth = verifying.Depth(locate, static, keys, sharded, (split,) if split != Layout() else ())
    trust = trust_remote_code
    with Progress() as progress:
        if given is not None and lane == "cpu":
            outcome = verifying.verify_bridge(given, progress, depth, trust_remote_code=trust)
        elif given is not None:
            outcome = gpu_lane.verify_bridge(given, progress, lane, trust_remote_code=trust)
        elif lane == "cpu":
            outcome = verifying.verify_run(run_folder.find(run), progress, depth, lane=lane, trust_remote_code=trust)
        else:
            outcome = gpu_lane.verify_run(run_folder.find(run), progress, lane, trust_remote_code=trust)
    report.outcome(outcome, json=json)
    return outcome.exit_code
