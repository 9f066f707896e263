"""Which types there are, asked of the lane's transformers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LaneTypes:
    """The causal mapping of the installed transformers."""

    names: tuple[str, ...]
    versions: dict[str, str]
    """Of Python and the packages that a result depends on."""


def lane_types() -> LaneTypes:
    """Ask the lane.

    Raises:
        EnvironmentLacks: there is none.
    """
    from scaffold_tools.verify.lane import LaneSession

    with LaneSession() as lane:
        listed = lane.call("causal_types", {"action": "list"})["types"]
        versions = lane.call("echo", {})["versions"]
    return LaneTypes(tuple(str(row["model_type"]) for row in listed), versions)
