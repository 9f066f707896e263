"""The folder that an agent works in: the task's files, what the setup makes of them, and the skill or not."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from scaffold.evals.values import Configuration, Eval, NewModel, Replace
from scaffold.lane import EarlyLane
from scaffold.run_folder import FILES as VALUES
from scaffold.run_folder import HOME
from scaffold.skillpack.install import install
from scaffold.skillpack.read import read_skills
from scaffold_tools.errors import BadInput

FILES = PurePosixPath("evals/files")
INVENTORY = VALUES["inventory"]


@dataclass(frozen=True)
class Workplace:
    """Where the agent works, and what it was given."""

    folder: Path
    given: dict[str, bytes]
    """Path relative to the folder -> content, of the task's files."""
    models: dict[str, Any]
    """Run folder -> which model it is about. An agent may run the tool again; it has no reason to change the model."""

    def tampered(self) -> str | None:
        """The first run that is about another model now."""
        now = models_of(self.folder)
        return next((run for run, model in self.models.items() if now.get(run) != model), None)


def models_of(folder: Path) -> dict[str, Any]:
    """Config, tensors and place of the model of each run; how it was linked may differ."""
    found: dict[str, Any] = {}
    for path in sorted(folder.glob(f"{HOME}/*/{INVENTORY}")):
        try:
            inventory = json.loads(path.read_text(encoding="utf-8"))
            place = str((folder / (inventory["source"]["path"] or "")).resolve())
            found[path.parent.name] = (inventory["config"], inventory["tensors"], place)
        except (OSError, ValueError, KeyError, TypeError):
            found[path.parent.name] = None
    return found


def prepare(folder: Path, skill: Path, task: Eval, configuration: Configuration, lane: EarlyLane) -> Workplace:
    """Make the folder anew.

    Raises:
        BadInput: a file of the task is missing or lies elsewhere, or an edit of the setup does not apply.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    given = {}
    for name in task.files:
        path = PurePosixPath(name)
        if ".." in path.parts or not path.is_relative_to(FILES) or not (skill / path).is_file():
            raise BadInput(f"{skill.name}: {task.id}: {name} is no file below {FILES}")
        target = folder / path.relative_to(FILES)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((skill / path).read_bytes())
        given[path.relative_to(FILES).as_posix()] = target.read_bytes()
    if task.setup.new_model is not None:
        _new_model(folder, task.setup.new_model, lane)
    for edit in task.setup.replace:
        _replace(folder, edit)
    if configuration == "with_skill":
        install(folder, read_skills(skill.parent))  # all of them: choosing is part of the task
    return Workplace(folder, given, models_of(folder))


def _new_model(folder: Path, wanted: NewModel, lane: EarlyLane) -> None:
    from scaffold import pipeline
    from scaffold.progress import Progress

    settings = pipeline.Settings(
        link=str(folder / wanted.link) if (folder / wanted.link).exists() else wanted.link,
        base=folder,
        regenerate=wanted.regenerate,
        verify=False,
        trust_remote_code=wanted.trust_remote_code,
        with_stubs=wanted.with_stubs,
    )
    with Progress(quiet=True) as progress:
        pipeline.new_model(settings, progress, lane=lane)


def _replace(folder: Path, edit: Replace) -> None:
    path = folder / edit.path
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if text.count(edit.old) != 1:
        raise BadInput(f"the setup wants to edit {edit.path}, which has {text.count(edit.old)} places that fit")
    path.write_text(text.replace(edit.old, edit.new), encoding="utf-8")
