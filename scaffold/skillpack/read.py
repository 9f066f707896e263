"""The skills of this installation, as their front matter describes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scaffold_tools.errors import BadInput

_FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_FIELD = re.compile(r"^(?P<key>[a-z-]+): (?P<value>\S.*)$")

DEVELOPMENT = ("evals",)
"""Folders of a skill that are for measuring it, and are not installed."""


@dataclass(frozen=True)
class Skill:
    """One playbook."""

    name: str
    description: str
    folder: Path

    def files(self) -> dict[str, bytes]:
        """What is installed: path relative to the skill's folder, and content."""
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        paths = {path.relative_to(self.folder): path for path in found}
        return {
            relative.as_posix(): path.read_bytes()
            for relative, path in paths.items()
            if relative.parts[0] not in DEVELOPMENT
        }


def skills_folder() -> Path:
    """Where the skills lie: in the clone, or among the data of the wheel."""
    from scaffold_tools.paths import data_dir

    return data_dir("skills")


def read_skills(folder: Path | None = None) -> tuple[Skill, ...]:
    """Every skill, by name.

    Raises:
        BadInput: this installation has none, or one has no front matter.
    """
    home = skills_folder() if folder is None else folder
    found = tuple(read_skill(path.parent) for path in sorted(home.glob("*/SKILL.md")))
    if not found:
        raise BadInput(f"there are no skills in {home}", hint="install scaffold again: its data files are missing")
    return found


def read_skill(folder: Path) -> Skill:
    """One skill.

    Raises:
        BadInput: SKILL.md does not begin with a front matter that has a name and a description.
    """
    fields = front_matter((folder / "SKILL.md").read_text(encoding="utf-8"))
    if not {"name", "description"} <= set(fields):
        raise BadInput(f"{folder / 'SKILL.md'} has no name or no description in its front matter")
    return Skill(fields["name"], fields["description"], folder)


def front_matter(text: str) -> dict[str, str]:
    """Its fields; each is one line, as in every skill here."""
    front = _FRONT.match(text)
    rows = (_FIELD.match(line) for line in front[1].splitlines()) if front else ()
    return {row["key"]: row["value"].strip() for row in rows if row}


def renamed(content: bytes, names: Mapping[str, str]) -> bytes:
    """A file of a skill, with skills under the names that they are installed as: its own, and those it points to.

    The specification wants a skill's name to be that of its folder; and a pointer to another skill must not lead to
    somebody else's of the same name.
    """
    text = content.decode("utf-8")
    for name, other in names.items():
        if name != other:
            text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", other, text)
    return text.encode()
