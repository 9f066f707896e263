"""How integrations into ROLL are measured: its own jobs, and a checkout that has to be named.

ROLL's mcore_adapter is on no registry. What is called `mcore-adapter` on PyPI has nothing to do with it.
"""

from __future__ import annotations

import os
from pathlib import Path

from scaffold_tools.errors import EnvironmentLacks
from scaffold_tools.verify.jobs import Jobs

ROLL_JOBS = Jobs(verify="verify_roll", locate="locate_roll", static="static_roll", processes="processes_roll")
VARIABLE = "SCAFFOLD_ROLL_REPO"
SOURCES = "mcore_adapter/src"
"""Where a checkout of ROLL has the package."""


def roll_checkout(repo: Path | None) -> Path:
    """The checkout of ROLL to measure with: the one given, else the one that `SCAFFOLD_ROLL_REPO` names.

    Raises:
        EnvironmentLacks: none is named, or the folder is no checkout of ROLL.
    """
    named = os.environ.get(VARIABLE)
    root = repo or (Path(named).expanduser() if named else None)
    if root is None:
        raise EnvironmentLacks(
            "ROLL is on no registry, and no checkout of it is named", hint=f"export {VARIABLE}=/path/to/ROLL"
        )
    if not (root / SOURCES / "mcore_adapter" / "models").is_dir():
        hint = "git clone https://github.com/alibaba/ROLL" if repo else f"export {VARIABLE}=/path/to/ROLL"
        raise EnvironmentLacks(f"{root} is no checkout of ROLL: it has no {SOURCES}/mcore_adapter", hint=hint)
    return root
