"""What the agent did, as one value: printed for people, or as the one JSON object of `--json`."""

from __future__ import annotations

from dataclasses import dataclass, field

from scaffold_tools.blueprint.facts import Gap

REASONS = {
    "nothing to do": "there was no gap to close",
    "proven": "every check passes and no gap is open",
    "turns": "it reached --max-turns",
    "budget": "it reached --budget",
    "no progress": "two rounds brought nothing",
    "gave up": "the model ended although it is not proven",
    "refused": "the model refused to go on",
    "context": "the conversation no longer fits the model's context",
    "cut off": "replies were cut off at their length limit again and again",
}


def plain(text: str, limit: int) -> str:
    """A model's words as one line that a terminal only shows."""
    line = " ".join(text.split())
    return "".join(char if char.isprintable() else "?" for char in line)[:limit]


@dataclass(frozen=True)
class AgentOutcome:
    """The result of `scaffold agent`."""

    model: str
    architecture: str
    run_folder: str
    root: str
    family_folder: str
    reason: str
    """A key of REASONS: why it ended."""
    proven: bool
    gaps: tuple[Gap, ...]
    """Those that are open."""
    closed: tuple[Gap, ...]
    failing: tuple[str, ...]
    """Checks that do not pass, each with its toy and detail."""
    changes: tuple[str, ...]
    """Diffs of what was changed, in order."""
    turns: int
    tokens: dict[str, int] = field(default_factory=dict)
    llm: str = ""
    """The model that did it."""
    last_words: str = ""
    """What the model said last: a claim, not a result."""
    transcript: str = ""
    next_commands: tuple[str, ...] = ()
    exit_code: int = 0
