"""Dequantising code runs in the lane, which has torch."""

from support.lane_fixture import lane

__all__ = ["lane"]
