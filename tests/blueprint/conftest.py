"""The lane session that probes run in."""

from support.lane_fixture import lane

__all__ = ["lane"]
