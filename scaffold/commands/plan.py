"""`scaffold plan`: everything up to the plan; touches only the run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scaffold.options import DEFAULT_TARGET, Json, Out, Repo, Target, TrustRemoteCode, WithStubs


def run(
    link: Annotated[
        str | None, typer.Argument(metavar="[LINK]", help="As for new-model; leave out with --blueprint.")
    ] = None,
    blueprint: Annotated[
        Path | None, typer.Option(help="Go on from this (edited) blueprint.json of a run folder.")
    ] = None,
    target: Target = DEFAULT_TARGET,
    repo: Repo = None,
    out: Out = None,
    regenerate: Annotated[
        bool, typer.Option("--regenerate", help="Plan although the target already supports the architecture.")
    ] = False,
    with_stubs: WithStubs = False,
    trust_remote_code: TrustRemoteCode = False,
    json: Json = False,
) -> int:
    """Everything up to the plan.

    The plan is kept in the run folder; no file of the target is touched.
    """
    from scaffold import pipeline, report
    from scaffold.progress import Progress
    from scaffold_tools.errors import BadInput

    if (link is None) == (blueprint is None):
        raise BadInput("give either LINK or --blueprint FILE", hint="scaffold plan --help")
    settings = pipeline.Settings(
        link=link or "",
        target=target,
        repo=repo,
        out=out,
        regenerate=regenerate,
        trust_remote_code=trust_remote_code,
        with_stubs=with_stubs,
    )
    with Progress() as progress:
        if blueprint is not None:
            outcome = pipeline.plan_from_blueprint(settings, blueprint, progress)
        else:
            outcome = pipeline.plan_only(settings, progress)
    report.outcome(outcome, json=json)
    return outcome.exit_code
