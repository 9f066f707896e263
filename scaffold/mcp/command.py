"""Starting and ending the server process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from pathlib import Path
from types import FrameType

from scaffold.toolbox.border import Border
from scaffold.toolbox.work import Stop
from scaffold_tools.errors import EnvironmentLacks

INSTALL = "pip install 'scaffold-models[mcp]', or ./bootstrap mcp in a clone"
TERMINATED = 143
"""128 + SIGTERM."""


def serve(root: Path, *, repo: Path | None, models: Iterable[Path], trust_remote_code: bool) -> int:
    """Serve over stdio until the client goes.

    Raises:
        BadInput: a folder does not exist. EnvironmentLacks: the SDK is not installed.
    """
    border = Border.of(root, repo=repo, models=models, trust_remote_code=trust_remote_code)
    try:
        from scaffold.mcp.server import build_server
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in ("mcp", "mcp_types", "anyio"):
            raise
        raise EnvironmentLacks("the MCP SDK is not installed", hint=INSTALL) from error
    running: set[Stop] = set()

    def leave(signum: int, frame: FrameType | None) -> None:
        """End at once, with what runs in the lane: a thread that waits for stdin cannot be interrupted."""
        for stop in tuple(running):
            stop.now()
        os._exit(TERMINATED)

    signal.signal(signal.SIGTERM, leave)
    build_server(border, running).run("stdio")
    return 0
