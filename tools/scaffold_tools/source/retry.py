"""Asking a server again: which failures pass by themselves, how often, and how long to wait."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

RETRY_STATUS = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class RetryPolicy:
    """Waits of `base * 2**n` seconds, or what the server asks for."""

    attempts: int = 4
    base: float = 1.0
    longest: float = 30.0
    """Seconds. A server that asks for more is not asked again: its wish is told to the user."""
    sleep: Callable[[float], None] = time.sleep

    def wait(self, attempt: int, asked: float | None) -> float | None:
        """Seconds to wait after failed attempt number `attempt` (from 1); None = give up."""
        if attempt >= self.attempts:
            return None
        if asked is not None:
            return asked if asked <= self.longest else None
        return min(self.longest, self.base * 2 ** (attempt - 1))


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds that a `Retry-After` header asks for: a number or an HTTP date (RFC 9110, 10.2.3); None without one."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit() and len(value) < 10:
        return float(value)
    try:
        when = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, when.timestamp() - (time.time() if now is None else now))
