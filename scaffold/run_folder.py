"""The run folder `.scaffold/<model>/`: every value of the pipeline as a file that people and agents read and edit."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaffold_tools.errors import BadInput
from scaffold_tools.jsonio import dumps, loads

HOME = ".scaffold"

AGENT = "agent"
"""Folder of what the agent did: its record, diffs and transcript."""

LANE_LOG = "lane.log"
"""What libraries in the lane print."""

FILES = {
    "source": "source.json",
    "inventory": "inventory.json",
    "classification": "classification.json",
    "observations": "observations.json",
    "blueprint": "blueprint.json",
    "plan": "plan.json",
    "applied": "applied.json",
    "evidence": "evidence.json",
    "evidence_gpu": "evidence-gpu.json",
    "evidence_gpu-multi": "evidence-gpu-multi.json",
    "divergence": "divergence.json",
    "heat_strip": "divergence.html",
    "checklist": "checklist.md",
}
"""Value -> file, in the order in which the pipeline makes them."""


@dataclass(frozen=True)
class RunFolder:
    """The values of one run on disk. Each file is written whole or not at all."""

    path: Path

    @property
    def name(self) -> str:
        """The model's name as a folder name."""
        return self.path.name

    def file(self, value: str) -> Path:
        """Where a value lies."""
        return self.path / FILES[value]

    def has(self, value: str) -> bool:
        """Whether that value has been made."""
        return self.file(value).is_file()

    def save(self, value: str, content: Any) -> None:
        """Write a value; text as it is, everything else as JSON."""
        write_atomically(self.file(value), content if isinstance(content, str) else dumps(content))

    def load[T](self, value: str, kind: type[T]) -> T:
        """Read a value back, validated.

        Raises:
            BadInput: it has not been made yet, or somebody's edit does not fit.
        """
        path = self.file(value)
        if not path.is_file():
            raise BadInput(
                f"{path} does not exist", hint=f"make it first: scaffold plan LINK, or new-model LINK ({value})"
            )
        return read_value(path, kind)

    def forget_after(self, value: str) -> None:
        """Remove what was derived from a value that is about to change, `applied` excepted: undo needs it."""
        names = list(FILES)
        for later in names[names.index(value) + 1 :]:
            if later != "applied":
                self.file(later).unlink(missing_ok=True)


def folder_name(model: str) -> str:
    """`org/name` as one safe path component. The name is a stranger's text: no separators, no leading dot."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", model.replace("/", "--")).lstrip(".-_")[:120]
    return name or "model"


def for_model(model: str, base: Path | None = None) -> RunFolder:
    """The run folder of a model, made or not."""
    return RunFolder((base or Path.cwd()) / HOME / folder_name(model))


def find(run: str | None, base: Path | None = None) -> RunFolder:
    """The run folder that the user means: a path, a model name, or the only one there is.

    Raises:
        BadInput: there is none, or several and none was named.
    """
    home = (base or Path.cwd()) / HOME
    if run is not None:
        for path in (Path(run), home / folder_name(run)):
            if (path / FILES["source"]).is_file() or (path / FILES["plan"]).is_file():
                return RunFolder(path)
        raise BadInput(f"no run folder for {run}", hint=f"looked in {home}; scaffold new-model makes one")
    runs = sorted(path for path in home.iterdir() if path.is_dir()) if home.is_dir() else []
    if not runs:
        raise BadInput(f"no run folder in {home}", hint="scaffold new-model LINK makes one")
    if len(runs) > 1:
        raise BadInput(f"{home} holds several runs: {', '.join(path.name for path in runs)}", hint="name one of them")
    return RunFolder(runs[0])


def read_value[T](path: Path, kind: type[T]) -> T:
    """Read and validate one file.

    Raises:
        BadInput: it cannot be read or does not fit.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}") from error
    return loads(kind, text, where=str(path))


def write_atomically(path: Path, text: str) -> None:
    """Write beside the file and rename over it, so that a kill leaves the old content or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
