"""The lane, for the proofs."""

from support.lane_fixture import lane

__all__ = ["lane"]
