"""The folder that an agent works in: the task's files, what the setup makes of them, and the skill or not."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scaffold.evals.values import Configuration, Eval, NewModel, Replace
from scaffold.lane import EarlyLane
from scaffold.skillpack.install import install
from scaffold.skillpack.read import read_skills
from scaffold_tools.errors import BadInput

FILES = PurePosixPath("evals/files")


@dataclass(frozen=True)
class Workplace:
    """Where the agent works, and what it was given."""

    folder: Path
    given: dict[str, bytes]
    """Path relative to the folder -> content, of the task's files."""


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
    return Workplace(folder, given)


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
