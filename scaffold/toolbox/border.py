"""Where tools may work: one folder for runs and packages, one checkout, folders of models; given at start.

Whatever an agent passes is a stranger's text. It names things (a link, a run, a package), it never gives a path that
leaves these folders, and it cannot turn on what the user left off.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scaffold.run_folder import FILES, HOME, RunFolder, folder_name
from scaffold_tools.errors import BadInput, Refused
from scaffold_tools.source.link import parse_link

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
MAX_LINK = 1000


@dataclass(frozen=True)
class Border:
    """What the user allowed."""

    root: Path
    """Runs (`.scaffold/`) and packages are made here."""
    repo: Path | None = None
    """The one checkout that may be edited; without it plans are packages below `root`."""
    models: tuple[Path, ...] = ()
    """More folders that local models may be read from."""
    trust_remote_code: bool = False

    @classmethod
    def of(
        cls, root: Path, *, repo: Path | None = None, models: Iterable[Path] = (), trust_remote_code: bool = False
    ) -> Border:
        """A border of folders that exist, each resolved once.

        Raises:
            BadInput: one of them is not a folder.
        """
        return cls(
            _folder(root, "--root"),
            None if repo is None else _folder(repo, "--repo"),
            tuple(_folder(path, "--models") for path in models),
            trust_remote_code,
        )

    def link(self, text: str) -> str:
        """A link that may be read: a repository on the hub, or a local model inside the border, as an absolute path.

        Raises:
            BadInput: it is no link. Refused: a local path outside, or a file of the model that points outside.
        """
        _plain(text, "link", MAX_LINK)
        if text.startswith("~"):
            raise Refused(f"{text!r} is a path outside the folders given at start", hint=self._hint())
        if "://" not in text and os.path.lexists(self.root / text):
            path = self._inside(self.root / text)
            if path.is_dir():
                for entry in path.iterdir():
                    self._inside(entry)
            return str(path)
        if parse_link(text).kind != "hub":  # found from the current folder, which is not the root
            raise Refused(f"{text!r} is a path outside the folders given at start", hint=self._hint())
        return text

    def run(self, name: str | None) -> RunFolder:
        """The run of that name (`org/model`, or the folder's name), or the only one.

        Raises:
            BadInput: there is none, or several and none was named. Refused: a link in its place.
        """
        home = self.root / HOME
        if name is None:
            runs = sorted(path for path in home.iterdir() if path.is_dir()) if home.is_dir() else []
            if len(runs) != 1:
                raise BadInput(
                    f"{len(runs)} runs: {', '.join(path.name for path in runs)}"[:400],
                    hint="name one of them" if runs else "make one: the tool `plan`",
                )
            name = runs[0].name
        _plain(name, "run", MAX_LINK)
        if ".." in name.split("/") or name.startswith("/"):
            raise Refused(f"{name!r} is a path, not the name of a run", hint="give the model's name")
        folder = RunFolder(home / folder_name(name))
        for path in (home, folder.path, *(folder.file(value) for value in FILES)):
            if path.is_symlink():
                raise Refused(f"{path.name} is a symbolic link in the run folder", hint="remove it")
        if not folder.has("source") and not folder.has("plan"):
            raise BadInput(f"there is no run {folder.name!r}", hint="make it: the tool `plan`")
        return folder

    def out(self, name: str | None) -> Path | None:
        """The folder of a package, by its name alone.

        Raises:
            Refused: it is more than a name, or a link.
        """
        if name is None:
            return None
        if not _NAME.fullmatch(name):
            raise Refused(f"{name!r} is not a plain folder name", hint="letters, digits, dot, dash and underscore")
        if (self.root / name).is_symlink():
            raise Refused(f"{name!r} is a symbolic link", hint="give another name")
        return self.root / name

    def tree(self, path: str) -> Path:
        """The root of a plan, if it may be touched: the run folder is a file that anybody may have edited.

        Raises:
            Refused: it is neither the checkout nor below `root`.
        """
        real = Path(os.path.realpath(path))
        if real == self.repo or (real != self.root and real.is_relative_to(self.root)):
            return real
        raise Refused(f"the plan is for {path}, which is outside the folders given at start", hint=self._hint())

    def _inside(self, path: Path) -> Path:
        real = Path(os.path.realpath(path))
        if any(real.is_relative_to(folder) for folder in (self.root, *self.models)):
            return real
        raise Refused(f"{path} is outside the folders given at start", hint=self._hint())

    def _hint(self) -> str:
        return "the user can start the tool with --root or --models for that folder"


def _folder(path: Path, option: str) -> Path:
    real = Path(os.path.realpath(path.expanduser()))
    if not real.is_dir():
        raise BadInput(f"{option} {path} is not a folder")
    return real


def _plain(text: str, what: str, limit: int) -> None:
    if not text.strip() or len(text) > limit or not text.isprintable():
        raise BadInput(f"the {what} {text[:60]!r} is empty, too long or has control characters")
