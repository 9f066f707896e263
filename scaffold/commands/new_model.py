"""`scaffold new-model`: the whole way from a link to a proven integration."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from scaffold.options import (
    DEFAULT_TARGET,
    AllowDirty,
    Json,
    Lane,
    Link,
    Out,
    Repo,
    Target,
    TrustRemoteCode,
    WithStubs,
)


def run(
    link: Link,
    target: Target = DEFAULT_TARGET,
    repo: Repo = None,
    out: Out = None,
    lane: Lane = "cpu",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the diff; write nothing.")] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Write nothing; exit code 1 where a file is not as it would be generated today. For CI."
        ),
    ] = False,
    regenerate: Annotated[
        bool, typer.Option("--regenerate", help="Generate although the target already supports the architecture.")
    ] = False,
    no_verify: Annotated[bool, typer.Option("--no-verify", help="Stop after writing: nothing is proven.")] = False,
    with_stubs: WithStubs = False,
    trust_remote_code: TrustRemoteCode = False,
    allow_dirty: AllowDirty = False,
    json: Json = False,
) -> int:
    """The main job: read a model, generate, prove.

    Ends with the integration on disk, measured against the Hugging Face model, and a pull-request checklist.
    Without --repo a small installable package is written; with --repo that checkout is edited. A private model is read
    with the token of `hf auth login` or HF_TOKEN. The same command run again changes nothing.
    """
    from scaffold import pipeline, report
    from scaffold.progress import Progress

    settings = pipeline.Settings(
        link=link,
        target=target,
        repo=repo,
        out=out,
        lane=lane,
        dry_run=dry_run or check,
        regenerate=regenerate or check,
        verify=not no_verify,
        trust_remote_code=trust_remote_code,
        allow_dirty=allow_dirty,
        with_stubs=with_stubs,
    )
    with Progress() as progress:
        outcome = pipeline.new_model(settings, progress)
    if check:
        drifted = any(file.status != "identical" for file in outcome.files)
        outcome = replace(outcome, diff=None, exit_code=int(drifted), next_commands=())
        report.updated(outcome, check=True, json=json)
        return outcome.exit_code
    report.outcome(outcome, json=json)
    return outcome.exit_code
