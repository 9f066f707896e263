"""`scaffold mcp`: the tools for a coding agent, over the Model Context Protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scaffold.options import TrustRemoteCode


def run(
    root: Annotated[
        Path | None,
        typer.Option(help="Folder for runs and packages, and for local models [default: the current one]."),
    ] = None,
    repo: Annotated[Path | None, typer.Option(help="A checkout of the target that plans may edit.")] = None,
    models: Annotated[
        list[Path] | None, typer.Option(help="One more folder that local models may be read from; may be repeated.")
    ] = None,
    trust_remote_code: TrustRemoteCode = False,
) -> int:
    """Serve the tools to a coding agent over MCP (stdio).

    inspect, plan, diff, apply, verify, locate, gaps and explain_fact, with typed answers, progress and cancellation.
    Nothing outside the folders given here is read or written. Ends when its client goes.
    """
    from scaffold.mcp.command import serve

    return serve(root or Path.cwd(), repo=repo, models=models or (), trust_remote_code=trust_remote_code)
