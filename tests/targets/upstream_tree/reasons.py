"""Why ours fails a test that upstream's code passes: one row a reason, and every row has to be met by a failure."""

from __future__ import annotations

import re
from dataclasses import dataclass

KINDS = {
    "structure": "the test is about a private name, or about how upstream's code is cut",
    "default": "the test holds a value that upstream chose, and that the Hugging Face model does not have",
    "scope": "the test is about something that transformers' class does not have",
}


@dataclass(frozen=True)
class Reason:
    """Which failures it speaks for, and why they are right."""

    family: str
    """"" for all."""
    test: str
    """Regular expression of the test's name."""
    said: str
    """Regular expression of what the failure says: a reason whose evidence changes no longer applies."""
    kind: str
    why: str

    def holds(self, test: str, said: str) -> bool:
        """Whether a failure is of this reason."""
        return bool(re.search(self.test, test) and re.search(self.said, said))


REASONS: tuple[Reason, ...] = ()

SHARED_REASONS: tuple[Reason, ...] = ()
