"""A lane job: one toy in many quantised forms, each through the integration that was generated for it."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

from checks.measured import Broken, Checks
from checks.reference import make_reference
from checks.stored import verify_stored
from mcore.build import prepare_process
from mcore.integration import register
from mcore.no_cuda import neutralise


def run(request: dict[str, Any]) -> dict[str, Any]:
    neutralise()
    workdir = Path(request["workdir"])
    workdir.mkdir(parents=True, exist_ok=True)
    prepare_process(workdir)
    reference = make_reference(request, "a", workdir / "toy", Checks("toy"))
    found = {}
    for name, case in request["cases"].items():
        for module in [one for one in sys.modules if one.split(".")[0] == case["integration"]["module"]]:
            del sys.modules[module]
        register(case["integration"], request["architecture"])
        checks = Checks(name)
        with contextlib.suppress(Broken):  # recorded among the checks
            verify_stored({**request, **case}, reference, checks)
        found[name] = checks.done
        sys.path.remove(case["integration"]["path"])
    return found
