"""Arguments and options that several commands share, so that they are spelt and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_TARGET = "megatron-bridge"

Link = Annotated[
    str,
    typer.Argument(metavar="LINK", help="org/name, a hub URL (also /tree/<rev>), a local folder, or a config.json."),
]
Run = Annotated[
    str | None,
    typer.Argument(metavar="[RUN]", help="Model name or run folder; may be left out when .scaffold/ holds one run."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Target = Annotated[str, typer.Option(help="What to integrate into.")]
Repo = Annotated[
    Path | None,
    typer.Option(help="A checkout of the target to edit in place; without it a package of its own is written."),
]
Out = Annotated[Path | None, typer.Option(help="Folder of the package [default: ./<package name>].")]
Lane = Annotated[str, typer.Option(help="Where to verify: cpu.")]
TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Run the Python code that the repository brings; otherwise none of it runs.",
    ),
]
WithStubs = Annotated[
    bool,
    typer.Option(
        "--with-stubs",
        help="Where gaps remain, write a module with marked places for what is missing, and a failing test.",
    ),
]
AllowDirty = Annotated[
    bool,
    typer.Option("--allow-dirty", help="Write although the checkout has uncommitted changes in the files concerned."),
]
