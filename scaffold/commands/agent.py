"""`scaffold agent`: lets Claude close the gaps that are left, inside the family's own folder."""

from __future__ import annotations

from typing import Annotated

import typer

from scaffold.options import AllowDirty, Json, Link, Out, Repo, Target, TrustRemoteCode


def run(
    link: Link,
    target: Target = "megatron-bridge",
    repo: Repo = None,
    out: Out = None,
    regenerate: Annotated[
        bool, typer.Option("--regenerate", help="Work although the target already supports the architecture.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(help="Claude model [default: SCAFFOLD_AGENT_MODEL, else claude-opus-5-5]."),
    ] = None,
    max_turns: Annotated[int, typer.Option(min=1, help="Replies of the model, in this call.")] = 40,
    budget: Annotated[int, typer.Option(min=1, help="Tokens, in and out, cached or not, in this call.")] = 2_000_000,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the conversation of an earlier call.")] = False,
    trust_remote_code: TrustRemoteCode = False,
    allow_dirty: AllowDirty = False,
    json: Json = False,
) -> int:
    """Let Claude close the gaps that are left.

    Generates what is certain, with marked places for the rest; then the model reads the modeling code and writes,
    inside the family's own folder only. After each change verification decides. Ends when it is proven (exit code 0),
    or at a limit, or when two rounds bring nothing (exit code 3, with what is left). Needs ANTHROPIC_API_KEY. What is
    sent: the model's code and config, the generated code, and what was measured.
    """
    import os

    from scaffold.agent.command import Wish, check_ready, run_agent
    from scaffold.agent.report import show
    from scaffold.pipeline import Settings
    from scaffold.progress import Progress

    check_ready()
    from scaffold.agent.client import DEFAULT_MODEL
    from scaffold.agent.loop import Limits

    settings = Settings(
        link=link,
        target=target,
        repo=repo,
        out=out,
        regenerate=regenerate,
        trust_remote_code=trust_remote_code,
        allow_dirty=allow_dirty,
        with_stubs=True,
    )
    llm = model or os.environ.get("SCAFFOLD_AGENT_MODEL") or DEFAULT_MODEL
    with Progress() as progress:
        outcome = run_agent(Wish(settings, llm, Limits(max_turns, budget), resume), progress)
    show(outcome, json=json)
    return outcome.exit_code
