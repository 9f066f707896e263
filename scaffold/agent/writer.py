"""How the agent changes files: a plan of its own on top of the run's, applied as one, with its diff kept.

Its record lies apart from that of the generated files: `undo` takes the agent's layer back first, and a later
`new-model` leaves changed files alone or refuses, and `update` merges.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from scaffold.agent.fence import check_code
from scaffold.family import family_folder
from scaffold.run_folder import AGENT, RunFolder, write_atomically
from scaffold_tools.errors import BadInput, Refused

if TYPE_CHECKING:
    from scaffold_tools.workspace.plan import Change, Plan

MAX_CHANGES = 20
_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}(?:/[A-Za-z_][A-Za-z0-9_]{0,99}){0,3}\.py")


@dataclass(frozen=True)
class Edit:
    """One file: whole, or one piece of text in the place of another."""

    path: str
    """Relative to the family's folder."""
    content: str | None = None
    find: str | None = None
    replace: str | None = None


@dataclass(frozen=True)
class Writer:
    """Writes inside the family's folder of one run, and nowhere else."""

    plan: Plan
    folder: RunFolder

    @property
    def layer(self) -> Path:
        """Where the record of the agent's changes lies."""
        return self.folder.path / AGENT

    def write(self, edits: Sequence[Edit], why: str) -> str:
        """Make all of the edits, or none; returns the unified diff, which is kept too.

        Raises:
            BadInput: an edit that does not fit. Refused: outside the family's folder, outside the fence, or a file
                that somebody else changed.
        """
        from scaffold_tools.workspace import apply
        from scaffold_tools.workspace import diff as tree_diff

        if not 1 <= len(edits) <= MAX_CHANGES:
            raise BadInput(f"{len(edits)} changes at once", hint=f"between 1 and {MAX_CHANGES}")
        changes = tuple(self._change(edit, why) for edit in edits)
        if len({change.path for change in changes}) != len(changes):
            raise BadInput("two changes of one file", hint="send the file once")
        layer = replace(self.plan, changes=changes, gaps=(), notes=(), next_commands=())
        root = Path(self.plan.root)
        text = tree_diff(layer, root, record_dir=self.layer)
        # Files of ours are uncommitted in a checkout; that nobody else changed them is checked above.
        apply(layer, root, record_dir=self.layer, allow_dirty=True, inputs={"why": why})
        if text:
            self._keep(text)
        return text

    def _change(self, edit: Edit, why: str) -> Change:
        from scaffold_tools.workspace.plan import Change

        if not _PATH.fullmatch(edit.path):
            raise Refused(
                f"{edit.path[:80]!r} is not a module in the family's folder", hint="for example model_gaps.py"
            )
        path = f"{family_folder(self.plan)}/{edit.path}"
        current = self._current(path)
        content = _edited(edit, current)
        check_code(content, package=self.plan.package)
        return Change(
            path=path,
            kind="create",
            content=content,
            summary=" ".join(why.split())[:200],
            before_sha256=None if current is None else _hash(current),
        )

    def _current(self, path: str) -> bytes | None:
        """What is there, if it is ours."""
        place = Path(self.plan.root) / path
        if place.is_symlink():
            raise Refused(f"{path} is a symbolic link")
        try:
            found = place.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Refused(f"{path} cannot be read: {error.strerror}") from error
        if _hash(found) not in self._written(path):
            raise Refused(f"{path} was changed by somebody else", hint="the user has to look at it first")
        return found

    def _written(self, path: str) -> set[str]:
        """Hashes of what the run and the agent wrote there."""
        from scaffold_tools.workspace import read_record

        records = (read_record(self.folder.path), read_record(self.layer))
        entries = (record.entry(path) for record in records if record is not None)
        return {entry.after_sha256 for entry in entries if entry is not None}

    def _keep(self, text: str) -> None:
        folder = self.layer / "changes"
        folder.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(name[:3]) for name in os.listdir(folder) if name[:3].isdigit()), default=0)
        write_atomically(folder / f"{number:03}.diff", text)


def _edited(edit: Edit, current: bytes | None) -> str:
    if edit.content is not None and edit.find is None and edit.replace is None:
        return edit.content if edit.content.endswith("\n") else edit.content + "\n"
    if edit.content is not None or edit.find is None or edit.replace is None:
        raise BadInput(f"{edit.path}: give either content, or find and replace")
    if current is None:
        raise BadInput(f"{edit.path} does not exist", hint="give its content")
    text = current.decode("utf-8", "replace")
    count = text.count(edit.find) if edit.find else 0
    if count != 1:
        raise BadInput(f"{edit.path}: the text to find is there {count} times", hint="it has to be there once")
    return text.replace(edit.find, edit.replace)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
