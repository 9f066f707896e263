"""The job that shows a lane is alive: returns versions, and misbehaves when asked to, to test the server."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from typing import Any

import progress


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Versions of what is installed, and `request["value"]` back.

    `action` may be `raise`, `die`, `sleep` (which also starts a process that sleeps, and reports its id) or `print`.
    """
    progress.say("echo")
    action = request.get("action")
    if action == "raise":
        raise ValueError("asked to")
    if action == "die":
        os.kill(os.getpid(), 9)
    if action == "print":
        print("a line that a library printed", flush=True)
        os.write(1, b"{not protocol\n")
    if action == "sleep":
        grandchild = subprocess.Popen(["sleep", "60"])
        progress.say(f"{os.getpid()} {grandchild.pid}")
        time.sleep(60)
    return {"value": request.get("value"), "pid": os.getpid(), "environ": sorted(os.environ), "versions": versions()}


def versions() -> dict[str, str]:
    """Python and the packages whose versions matter for a result."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in ("torch", "transformers", "megatron-core", "megatron-bridge"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found
