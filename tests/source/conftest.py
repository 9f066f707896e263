"""Fixtures for reading models."""

from __future__ import annotations

from support.loopback_hub import loopback_hub, secure_hub

__all__ = ["loopback_hub", "secure_hub"]
