"""`scaffold doctor`: what this machine can verify."""

from __future__ import annotations

from typing import Annotated

import typer

from scaffold.options import DEFAULT_TARGET, Json, Repo, Target


def run(
    repo: Repo = None,
    target: Target = DEFAULT_TARGET,
    install: Annotated[str | None, typer.Option(metavar="LANE", help="Install a lane, if it is missing: cpu.")] = None,
    json: Json = False,
) -> int:
    """What this machine can verify.

    Names the one command that adds what is missing.
    """
    from scaffold import machine, report
    from scaffold.progress import Progress
    from scaffold_tools.errors import BadInput

    if install not in (None, "cpu"):
        raise BadInput(f"there is no lane {install!r} to install", hint="scaffold doctor --install cpu")
    if install:
        from scaffold_tools.verify.lane_env import ensure_lane, find_lane

        if find_lane() is None:
            with Progress() as progress, progress.stage("install") as stage:
                stage.result = str(ensure_lane(True, stage.note).python)
    found = machine.examine(repo, target)
    report.machine(found, json=json)
    return found.exit_code
