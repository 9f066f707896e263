"""The text of a pull request in the words of the repository that it goes to: its own template, filled.

What a box or a section asks is told by its words (rows below); what no row knows stays as it stands, for a person.
A box is ticked for what the plan has and never for what nobody can know from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scaffold_tools.workspace.plan import Plan

_TEMPLATES = (".github", "", "docs")
_NAME = "pull_request_template.md"
_REQUEST = Path(".github") / "ISSUE_TEMPLATE" / "model_support_request.yml"


@dataclass(frozen=True)
class Words:
    """What a template is filled with; Markdown that is escaped already."""

    overview: str
    """One line."""
    changes: Sequence[str]
    """A list item each."""
    details: str
    """Everything that was measured, with what is open."""


@dataclass(frozen=True)
class Section:
    """A heading of the template and what belongs under it, in the place of the instructions there."""

    heading: str
    """Pattern, case does not count."""
    body: Callable[[Words], str]
    reason: str
    title: str = ""
    """Over the text where the template has no place for it."""


@dataclass(frozen=True)
class Tick:
    """A question of a checklist, and the files that answer it."""

    asks: str
    """Pattern over the text of the box."""
    files: str
    """Pattern over planned paths: one that matches ticks the box."""
    remark: str = ""
    """What is said beside a box that such files answer only in part; it stays open."""


SECTIONS = (
    Section(r"what does this pr|summary|overview", lambda words: words.overview, "the one line"),
    Section(
        r"change ?log|changes",
        lambda words: "\n".join(f"- {item}" for item in words.changes),
        "file by file",
        "## Files\n\n",
    ),
    Section(r"additional information|details|notes", lambda words: words.details, "figures are at home behind it"),
)

BOXES = (
    Tick(r"\bnecessary tests|\btests\b.*\?", r"^tests/unit_tests/.*\.py$"),
    Tick(r"\bdocumentation\b", r"^docs/.*\.md$"),
)

DELIVERABLES = (
    Tick(r"model providers", r"^src/.*/models/.*_(bridge|provider)\.py$"),
    Tick(r"conversion bridge", r"^src/.*/models/.*_bridge\.py$"),
    Tick(r"unit tests \(config", r"^tests/unit_tests/models/.*\.py$"),
    Tick(r"conversion functional tests", r"^tests/functional_tests/.*models/.*conversion.*\.py$"),
    Tick(r"optimal pretraining", r"^src/.*/recipes/.*\.py$", "a recipe by rule and memory estimate, not tuned"),
    Tick(r"optimal finetuning", r"^src/.*/recipes/.*\.py$", "a recipe by rule and memory estimate, not tuned"),
    Tick(r"recipe unit tests", r"^tests/unit_tests/recipes/.*\.py$"),
    Tick(r"recipe functional tests", r"^tests/functional_tests/.*recipes?/.*\.py$"),
    Tick(r"end-to-end ci", r"^tests/functional_tests/launch_scripts/.*\.sh$", "a launch script; CI has not run it"),
)


def title(name: str) -> str:
    """As a Conventional Commit: `feat(model): add Qwen3 support`."""
    return f"feat(model): add {name} support"


def fill_template(root: Path, plan: Plan, words: Words) -> str | None:
    """The repository's pull-request template, filled; None where it has none."""
    place = _template(root)
    if place is None:
        return None
    paths = [change.path for change in plan.changes]
    text = place.read_text("utf-8", "replace").replace("\r\n", "\n")
    parts = re.split(r"(?m)^(#{1,3} .+)$", text)
    filled, left = [parts[0]], [SECTIONS[1], SECTIONS[2]]
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        row = next((row for row in SECTIONS if re.search(row.heading, heading, re.I)), None)
        left = [one for one in left if one is not row]
        filled += [heading, _boxes(body, paths) if row is None else f"\n\n{row.body(words)}\n{_kept(body)}\n"]
    rest = "".join(f"\n{row.title}{row.body(words)}\n" for row in left)
    return "".join(filled).rstrip() + "\n" + rest + _deliverables(root, paths)


def _template(root: Path) -> Path | None:
    for folder in _TEMPLATES:
        home = root / folder
        found = [path for path in sorted(home.iterdir()) if path.name.lower() == _NAME] if home.is_dir() else []
        if found and found[0].is_file():
            return found[0]
    return None


def _kept(body: str) -> str:
    """What of a section is for the author to fill by hand: its list items that end in a place for a number."""
    rows = [line for line in body.splitlines() if re.fullmatch(r"\s*- .*#\s*(\(.*\))?", line)]
    return "\n" + "\n".join(rows) + "\n" if rows else ""


def _boxes(body: str, paths: Sequence[str]) -> str:
    def tick(match: re.Match[str]) -> str:
        row = next((row for row in BOXES if re.search(row.asks, match[2], re.I)), None)
        ticked = row is not None and any(re.search(row.files, path) for path in paths)
        return f"{match[1]}[x]{match[2]}" if ticked else match[0]

    return re.sub(r"(?m)^(\s*- )\[ \](.*)$", tick, body)


def _deliverables(root: Path, paths: Sequence[str]) -> str:
    """What the form for a model's support request asks for, where the repository has one."""
    place = root / _REQUEST
    if not place.is_file():
        return ""
    blocks = re.split(r"(?m)^  - type: ", place.read_text("utf-8", "replace"))
    boxes = next((block for block in blocks if block.startswith("checkboxes")), "")
    labels = [label.strip().strip("'\"") for label in re.findall(r"(?m)^\s+- label: (.+)$", boxes)]
    lines = [_deliverable(label, paths) for label in labels if label.isprintable()]
    return "\n# Deliverables of a model support request\n\n" + "\n".join(lines) + "\n" if lines else ""


def _deliverable(label: str, paths: Sequence[str]) -> str:
    row = next((row for row in DELIVERABLES if re.search(row.asks, label, re.I)), None)
    there = row is not None and any(re.search(row.files, path) for path in paths)
    remark = f": {row.remark}" if row is not None and there and row.remark else ""
    return f"- [{'x' if there and not remark else ' '}] {label}{remark}"
