"""The checklist in the words of the repository that the pull request goes to, where that has a template of its own."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING

from scaffold.targets import find_target

if TYPE_CHECKING:
    from scaffold.checklist import Checklist
    from scaffold_tools.workspace.plan import Plan


def in_their_words(made: Checklist, plan: Plan | None) -> str | None:
    """The target's own template, filled; None where there is none, or no checkout.

    The first line is a comment with the title: it shows nowhere, wherever the text is pasted.
    """
    from scaffold import checklist
    from scaffold_tools.render.literals import markdown_code, markdown_text

    if plan is None or plan.layout != "checkout":
        return None
    target = find_target(plan.target)
    # Their template has the headline, and a place for the files.
    details = checklist.render(dataclasses.replace(made, files=())).partition("\n")[2].strip()
    changes = [f"{markdown_code(path)}: {markdown_text(summary)}" for path, summary in made.files]
    overview = f"Adds {markdown_text(made.title)}. {markdown_text(made.summary)}"
    filled = target.pull_request(Path(plan.root), plan, overview, changes, details)
    return None if filled is None else f"<!-- {title_of(made, plan)} -->\n\n{filled}"


def title_of(made: Checklist, plan: Plan | None) -> str:
    """The title of the pull request: the class prefix, since a name from a config may hold anything."""
    found = re.match(r"[A-Za-z_]\w{0,80}", made.title, re.ASCII)
    name = re.sub(r"(For[A-Z]\w*|LMHeadModel)$", "", found[0]) if found else "model"
    return find_target(plan.target).pull_request_title(name) if plan is not None else f"Add {name}"
