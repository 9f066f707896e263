"""A lane job: constants of differential attention, layer by layer, and the rule that the probe finds for them."""

from __future__ import annotations

from typing import Any

from probes.graph.values import Unmeasured
from probes.mixers.difference import fit_starts


def run(request: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"found": fit_starts(dict(enumerate(request["starts"])))}
    except Unmeasured as reason:
        return {"found": None, "reason": str(reason)}
