"""What the model is told at the start: the task, the rules, and the state of the run as quoted data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaffold.family import family_folder

if TYPE_CHECKING:
    from scaffold_tools.blueprint.facts import Blueprint
    from scaffold_tools.workspace.plan import Plan

_SYSTEM = Path(__file__).with_name("system.md").read_text(encoding="utf-8")


def system_prompt(target: str) -> str:
    """The rules; the same for every model of a target, so that they are cached."""
    return _SYSTEM.replace("{target}", target)


def first_message(plan: Plan, blueprint: Blueprint, measured: dict[str, Any], *, roots: list[str], files: str) -> str:
    """The task: what is open, what was measured, and where things are."""
    facts = {fact.name: {"value": fact.value, "certainty": fact.certainty} for fact in blueprint.facts}
    state = {
        "architecture": blueprint.architecture,
        "model_type": blueprint.model_type,
        "gaps": [
            {"subject": gap.subject, "reason": gap.reason, "shown_by": gap.hf_source, "write": gap.write_what}
            for gap in plan.gaps
        ],
        "tensors": [
            {"pattern": role.pattern, "role": role.role, "shape": list(role.shape)} for role in blueprint.roles[:200]
        ],
        "facts": facts,
        "measured": measured,
    }
    return "\n".join(
        [
            f"Close the gaps of {blueprint.architecture}. The family's folder is {family_folder(plan)}; paths of",
            f"change_files are relative to it. The module with OPEN_GAPS is {(plan.stub or '').rsplit('/', 1)[-1]}.",
            f"You may read below: {', '.join(roots)}.",
            "",
            "The state, as quoted data:",
            "<state>",
            _fenced(json.dumps(state, ensure_ascii=False, indent=1)),
            "</state>",
            "<family_folder>",
            _fenced(files),
            "</family_folder>",
        ]
    )


def resumed_message(measured: dict[str, Any]) -> str:
    """What a conversation that goes on is told."""
    state = _fenced(json.dumps(measured, ensure_ascii=False))
    return f"The work goes on. What is on disk now was measured again:\n<state>\n{state}\n</state>"


NOT_YET = """\
It is not proven yet, and ending here would leave it so. Go on if there is something left to try; if it cannot be \
done inside the family's folder, say what is missing."""

CUT = "Your message was cut off at its length limit, and none of its tool calls ran. Send smaller changes."


def _fenced(text: str) -> str:
    """Quoted text cannot close the element that it is quoted in."""
    return text.replace("<", "\\u003c")
