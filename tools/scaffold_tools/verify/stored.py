"""What verification is told of a quantised checkpoint, and what the headers alone show of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scaffold_tools.blueprint.facts import Stored
from scaffold_tools.jsonio import to_jsonable
from scaffold_tools.verify.evidence import Check

COVERAGE = "stored.coverage"


def stored_request(stored: Stored | None, config: dict[str, Any]) -> dict[str, Any] | None:
    """The `stored` of the `verify` job; None where nothing is quantised."""
    if stored is None or not stored.groups:
        return None
    request: dict[str, Any] = to_jsonable(stored)
    return {**request, "quantization_config": config.get("quantization_config")}


def coverage(stored: Stored | None) -> tuple[Check, ...]:
    """Whether each quantised tensor of the real checkpoint has its scales, and each scale its tensor."""
    if stored is None:
        return ()
    if stored.certainty != "constrained":
        detail = "no header was read"
        return (Check(COVERAGE, "skipped", detail=detail, toy="checkpoint"),)
    whole = sum(group.tensors for group in stored.groups)
    lost = len(stored.unmatched)
    detail = f"no place for {', '.join(stored.unmatched[:5])}" if lost else ""
    whole_all = Check(COVERAGE, "passed", f"{whole}/{whole + lost}", "all", detail, toy="checkpoint")
    return (whole_all if whole and not lost else replace(whole_all, status="failed"),)
