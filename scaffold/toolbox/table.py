"""The table of tools: all that a face (MCP, the agent) knows of them. A new tool is a new row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scaffold.toolbox import calls


@dataclass(frozen=True)
class Tool:
    """One tool. Name, arguments, description and answer are those of its function."""

    name: str
    call: Callable[..., Any]
    """(work, arguments) -> an `Answer`."""
    writes: str = ""
    """What it writes; empty: nothing."""
    network: bool = False
    """Whether it may ask a hub."""


TOOLS: tuple[Tool, ...] = (
    Tool("inspect", calls.inspect, network=True),
    Tool("plan", calls.plan, writes="the run folder", network=True),
    Tool("diff", calls.diff),
    Tool("apply", calls.apply, writes="the package or checkout, and the run folder"),
    Tool("update", calls.update, writes="the files as `apply` wrote them, and the run folder", network=True),
    Tool("verify", calls.verify, writes="evidence and checklist in the run folder"),
    Tool("locate", calls.locate, writes="the divergence in the run folder"),
    Tool("gaps", calls.gaps),
    Tool("explain_fact", calls.explain_fact),
)
