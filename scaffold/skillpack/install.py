"""Skills where coding agents look for them: `.agents/skills` (Codex and others) and `.claude/skills`, as real files.

What was written is recorded beside it with its hash, so that it is updated and removed without touching anything of
the user: a file that differs from what was written is never overwritten, and a folder of the same name that is not
ours makes ours move to `scaffold-<name>`. In a checkout of Megatron-Bridge that is the usual case: it has a skill
`adding-model-support` of its own, and both homes are links to one folder.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from scaffold.run_folder import read_value, write_atomically
from scaffold.skillpack.read import Skill, renamed
from scaffold_tools.errors import BadInput, Refused
from scaffold_tools.jsonio import dumps
from scaffold_tools.workspace.safety import check_on_disk

HOMES = (".agents/skills", ".claude/skills")
RECORD = ".scaffold-skills.json"
PREFIX = "scaffold-"

State = Literal["create", "update", "identical", "remove", "removed", "kept"]


@dataclass(frozen=True)
class Record:
    """What lies in one home because of us."""

    files: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Path below the home -> hashes that count as ours. Two while an update is under way."""
    folders: tuple[str, ...] = ()
    """Folders above and including the home that did not exist before, outermost first."""


@dataclass(frozen=True)
class FileAt:
    """One file, and what is to be done or was done with it."""

    path: str
    """Relative to the folder that skills are installed into."""
    state: State


@dataclass(frozen=True)
class _Home:
    root: Path
    place: Path
    """Resolved, inside the root."""
    record: Record

    def shown(self, relative: str) -> str:
        return (self.place / relative).relative_to(self.root).as_posix()


def plan(root: Path, skills: tuple[Skill, ...]) -> tuple[FileAt, ...]:
    """What `install` would do; touches nothing.

    Raises:
        BadInput: no such folder.
        Refused: a file that was changed since, a link that leads out, or a name that is taken twice.
    """
    return tuple(at for home in _homes(root) for at in _compare(home, _wanted(home, skills)))


def install(root: Path, skills: tuple[Skill, ...]) -> tuple[FileAt, ...]:
    """Write or update the skills in both homes; a second call changes nothing.

    Raises:
        BadInput, Refused: as `plan`; nothing was written then.
    """
    done = plan(root, skills)
    for home in _homes(root):
        wanted = _wanted(home, skills)
        states = {at.path: at.state for at in _compare(home, wanted)}
        if set(states.values()) <= {"identical"} and set(home.record.files) == set(wanted):
            continue
        folders = home.record.folders or _missing(home)
        hashes: dict[str, tuple[str, ...]] = {path: (_hash(content),) for path, content in wanted.items()}
        both = {
            path: (*hashes.get(path, ()), *home.record.files.get(path, ())) for path in {*hashes, *home.record.files}
        }
        home.place.mkdir(parents=True, exist_ok=True)
        _save(
            home, Record(both, folders)
        )  # first, so that a kill in between leaves nothing that looks like the user's
        for path, content in wanted.items():
            if states[home.shown(path)] != "identical":
                write_atomically(home.place / path, content.decode("utf-8"))
        for path in set(home.record.files) - set(wanted):
            if _ours(home, path):
                _delete(home, path)
        _save(home, Record(hashes, folders))
    return done


def remove(root: Path) -> tuple[FileAt, ...]:
    """Take away what was installed; files that were changed since are kept.

    Raises:
        BadInput: nothing is installed there.
    """
    homes = [home for home in _homes(root) if home.record.files]
    if not homes:
        raise BadInput(f"no skills are installed in {root}", hint=f"scaffold skills install {root}")
    done = []
    for home in homes:
        for path in sorted(home.record.files):
            if not (home.place / path).exists():
                continue
            ours = _ours(home, path)
            if ours:
                _delete(home, path)
            done.append(FileAt(home.shown(path), "removed" if ours else "kept"))
        (home.place / RECORD).unlink()
        for folder in reversed(home.record.folders):
            with contextlib.suppress(OSError):  # something of the user lies in it now
                (root / folder).rmdir()
    return tuple(done)


def _homes(root: Path) -> tuple[_Home, ...]:
    """The homes of a folder, each place once: one is often a link to the other."""
    if not root.is_dir():
        raise BadInput(f"{root} is not a folder", hint="give the folder that the coding agent works in")
    real = root.resolve()
    places: dict[Path, None] = {}
    for name in HOMES:
        place = (real / name).resolve()
        if not place.is_relative_to(real) or place == real or ".git" in place.relative_to(real).parts:
            raise Refused(f"{name} in {root} leads to {place}", hint="install into the folder that it leads to")
        if place.exists() and not place.is_dir():
            raise Refused(f"{name} in {root} is not a folder")
        places[place] = None
    return tuple(_Home(real, place, _load(place)) for place in places)


def _wanted(home: _Home, skills: tuple[Skill, ...]) -> dict[str, bytes]:
    names = {skill.name: _free_name(home, skill.name) for skill in skills}
    return {
        f"{names[skill.name]}/{path}": renamed(content, names)
        for skill in skills
        for path, content in skill.files().items()
    }


def _free_name(home: _Home, name: str) -> str:
    for candidate in (name, PREFIX + name):
        mine = any(path.startswith(f"{candidate}/") for path in home.record.files)
        if mine or not (home.place / candidate).exists():
            return candidate
    raise Refused(f"{home.shown(name)} and {home.shown(PREFIX + name)} are there and not from this tool")


def _compare(home: _Home, wanted: dict[str, bytes]) -> tuple[FileAt, ...]:
    found = []
    for path, content in wanted.items():
        check_on_disk(home.place, path)
        current = _read(home.place / path)
        if current is None:
            found.append(FileAt(home.shown(path), "create"))
        elif current == content:
            found.append(FileAt(home.shown(path), "identical"))
        elif _ours(home, path):
            found.append(FileAt(home.shown(path), "update"))
        else:
            hint = "keep your version elsewhere, delete this one, and install again"
            raise Refused(f"{home.shown(path)} was changed since it was installed", hint=hint)
    gone = sorted(path for path in set(home.record.files) - set(wanted) if (home.place / path).exists())
    return (*found, *(FileAt(home.shown(path), "remove" if _ours(home, path) else "kept") for path in gone))


def _ours(home: _Home, path: str) -> bool:
    check_on_disk(home.place, path)
    current = _read(home.place / path)
    return current is not None and _hash(current) in home.record.files.get(path, ())


def _delete(home: _Home, path: str) -> None:
    (home.place / path).unlink()
    folder = (home.place / path).parent
    while folder != home.place:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


def _missing(home: _Home) -> tuple[str, ...]:
    relative = home.place.relative_to(home.root)
    parts = [Path(*relative.parts[: depth + 1]) for depth in range(len(relative.parts))]
    return tuple(part.as_posix() for part in parts if not (home.root / part).exists())


def _load(place: Path) -> Record:
    path = place / RECORD
    return read_value(path, Record) if path.is_file() and not path.is_symlink() else Record()


def _save(home: _Home, record: Record) -> None:
    write_atomically(home.place / RECORD, dumps(record))


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
