"""Whether an agent picks the right skill from the descriptions alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scaffold.evals.agent import run_agent
from scaffold.evals.values import load_triggers
from scaffold.skillpack.read import Skill

NONE = "none"


@dataclass(frozen=True)
class Picked:
    """One request, and what the agent picked."""

    skill: str
    """The skill whose list has the request."""
    query: str
    should_trigger: bool
    picked: str

    @property
    def right(self) -> bool:
        """Picked where it should be, and not where it should not."""
        return (self.picked == self.skill) == self.should_trigger


def question(query: str, skills: Sequence[Skill]) -> str:
    """What the agent is asked: names and descriptions, as its listing of skills has them."""
    listing = "\n".join(f"- {skill.name}: {skill.description}" for skill in skills)
    return (
        f"These skills are available:\n\n{listing}\n\nA user writes:\n\n{query}\n\n"
        f"Which one would you follow? Do nothing else. Answer with its name alone, or with {NONE}."
    )


def pick(command: Sequence[str], query: str, skills: Sequence[Skill], *, cwd: Path, timeout: float) -> str:
    """The name that the answer ends with; `none` where it names no skill."""
    answer = run_agent(command, question(query, skills), cwd=cwd, timeout=timeout).answer
    names = re.findall("|".join(re.escape(name) for name in (*(skill.name for skill in skills), NONE)), answer)
    return names[-1] if names else NONE


def run_triggers(
    command: Sequence[str], wanted: Sequence[Skill], skills: Sequence[Skill], *, cwd: Path, timeout: float
) -> tuple[Picked, ...]:
    """Every request of every wanted skill."""
    return tuple(
        Picked(skill.name, row.query, row.should_trigger, pick(command, row.query, skills, cwd=cwd, timeout=timeout))
        for skill in wanted
        for row in load_triggers(skill.folder)
    )
