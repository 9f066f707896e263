"""Placeholders: what stands in the second rendering wherever the first has a value."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from functools import cached_property

CODE = frozenset({"literal", "string", "expression", "identifier", "dotted"})
"""Filters whose text may be code; that of all others belongs in strings and comments alone."""
QUOTED = frozenset({"toml", "json", "yaml"})
"""Filters whose placeholder is a quoted string, since those formats have no bare names."""


@dataclass(frozen=True)
class Slot:
    """One value put into text."""

    kind: str
    """The filter."""
    text: str
    """What it wrote."""


@dataclass
class SlotLog:
    """The slots of one rendering, by placeholder."""

    prefix: str = field(default_factory=lambda: f"zq{secrets.token_hex(6)}n")
    slots: dict[str, Slot] = field(default_factory=dict)

    def add(self, kind: str, text: str) -> str:
        """A new placeholder for `text`."""
        token = f"{self.prefix}{len(self.slots)}z"
        self.slots[token] = Slot(kind, text)
        return f'"{token}"' if kind in QUOTED else token

    def whole(self, text: str) -> Slot | None:
        """The slot, when the text is exactly its placeholder."""
        return self.slots.get(text)

    def fill(self, text: str) -> str:
        """The text with every placeholder replaced by what it stands for."""
        return self._pattern.sub(lambda found: self.slots[found.group(1)].text, text)

    def fill_quoted(self, text: str) -> str:
        """The same for raw text, where a placeholder of a data format has its quotes around it."""
        return self._pattern_quoted.sub(self._unquoted, text)

    def only_code(self, text: str) -> bool:
        """Whether every placeholder in the text is of a filter that may write code."""
        return all(self.slots[found].kind in CODE for found in self._pattern.findall(text))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(f"({re.escape(self.prefix)}\\d+z)")

    @cached_property
    def _pattern_quoted(self) -> re.Pattern[str]:
        return re.compile(f'"?({re.escape(self.prefix)}\\d+z)"?')

    def _unquoted(self, found: re.Match[str]) -> str:
        slot = self.slots[found.group(1)]
        return slot.text if slot.kind in QUOTED else found.group().replace(found.group(1), slot.text)
