"""Secrets taken out of text, before it goes to a model or into a transcript."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

GONE = "[redacted]"
_NAMES = re.compile(r"(?i)(key|token|secret|passw|credential|auth)")
_MIN = 8

# Shapes of secrets, whatever variable they come from. Each is a row with the thing it stands for.
_SHAPES: tuple[tuple[str, str], ...] = (
    ("Anthropic", r"sk-ant-[A-Za-z0-9_-]{8,}"),
    ("other API keys", r"\bsk-[A-Za-z0-9_-]{20,}"),
    ("Hugging Face", r"\bhf_[A-Za-z0-9]{16,}"),
    ("GitHub", r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})"),
    ("AWS", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    ("an HTTP header", r"(?i)\bbearer\s+[A-Za-z0-9._~+/-]{16,}=*"),
    ("a private key", r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"),
    ("credentials in a URL", r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"),
)


@dataclass(frozen=True)
class Redactor:
    """Takes known secrets and what looks like one out of text."""

    known: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of_environment(cls, environ: Mapping[str, str] | None = None) -> Redactor:
        """The values of all variables whose names sound like secrets, longest first."""
        values = {
            value
            for name, value in (os.environ if environ is None else environ).items()
            if _NAMES.search(name) and len(value) >= _MIN and not value.isdigit() and not os.path.isabs(value)
        }
        return cls(tuple(sorted(values, key=len, reverse=True)))

    def text(self, text: str) -> str:
        """The text without secrets."""
        for secret in self.known:
            text = text.replace(secret, GONE)
        for _, shape in _SHAPES:
            text = re.sub(shape, GONE, text)
        return text

    def value(self, value: Any) -> Any:
        """The same for every string in a JSON value."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        return value
