"""Whether what a skill names exists: in this repository, in the released target, or in the recorded checkouts.

Whatever stands in code style has to be found somewhere. `upstream.json` holds what lies outside of this repository and
of the lane, each entry seen in a checkout of a recorded commit (`python tests/skills/record_upstream.py`).
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import typer

from scaffold import cli, reference, run_folder
from scaffold.machine import site_packages
from scaffold_tools import errors
from scaffold_tools.blueprint.vocabulary import FACTS, ROLES
from scaffold_tools.classify.keys import KEYS
from scaffold_tools.targets.megatron_bridge.profile import Profile, read_profile
from scaffold_tools.verify.checks import CHECKS

from .markdown import Block, Page, lines

ROOT = Path(__file__).resolve().parents[2]
UPSTREAM = Path(__file__).parent / "upstream.json"

_PLACEHOLDER = re.compile(r"<[^<>]+>")
_DEFINED = re.compile(
    r"^\s*(?:class|def|async def)\s+(\w+)|^\s*(?:self\.)?(\w+)\s*(?::[^=\n]+)?=(?!=)|^\s*(\w+):\s", re.M
)
_WORD = re.compile(r"[A-Za-z_]\w*")
_FILE = re.compile(r"\.(?:py|md|json|html|sh|toml|yaml)$")
OWNERS = ("evidence", "classification", "provider", "self", "text_config")
"""What a dotted name may begin with, besides a class: `evidence.checks`, `provider.transformer_layer_spec`."""
MARKS = {
    "bash": ("", "run", "lane"),
    "python": ("", "write=", "replace="),
    "text": ("",),
}


@dataclass(frozen=True)
class World:
    """All that a skill may name."""

    profile: Profile
    target: frozenset[str]
    """Names that the released Megatron-Bridge and megatron-core define."""
    words: frozenset[str]
    """Facts, roles, checks, fields of JSON values, files of the run folder, config keys, names of ours."""
    sources: str
    """The text of our sources, for messages that a skill quotes."""
    upstream: frozenset[str]
    paths: frozenset[str]


@cache
def world() -> World:
    """Read it once."""
    packages = site_packages()
    assert packages is not None, "the names of the target are looked up in the lane"
    recorded: dict[str, Any] = json.loads(UPSTREAM.read_text(encoding="utf-8")) if UPSTREAM.exists() else {}
    found = [*(ROOT / "scaffold").rglob("*.py"), *(ROOT / "tools").rglob("*.py"), *(ROOT / "templates").rglob("*.j2")]
    given = [*(ROOT / "skills").glob("*/evals/files/**/*.*")]
    sources = "\n".join(path.read_text(encoding="utf-8") for path in sorted({*found, *given}))
    return World(
        profile=read_profile(packages, lane_site_packages=packages),
        target=frozenset(_definitions([packages / "megatron" / "bridge", packages / "megatron" / "core"])),
        words=frozenset(_words()) | frozenset(_defined(sources)),
        sources=" ".join(sources.split()),
        upstream=frozenset(name for one in recorded.values() for name in one["names"]),
        paths=frozenset(path for one in recorded.values() for path in one["paths"]),
    )


def problems(text: Page, known: World | None = None) -> list[str]:
    """What a page names and nobody has."""
    known = known or world()
    found = [*_spans(text, known), *_links(text), *_blocks(text, known)]
    codes = {0, *(kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and _is_error(kind))}
    found += [f"exit code {code}" for code in text.exit_codes if code not in codes]
    return list(dict.fromkeys(found))


def unresolved(text: Page, known: World) -> list[str]:
    """Code spans that only a checkout can tell."""
    return [*(span for span in text.spans if not _span(span, known)), *foreign(text)]


def command_problem(words: str) -> str | None:
    """Why a `scaffold ...` line is wrong, by the commands and options that there are."""
    try:
        tokens = shlex.split(words)
    except ValueError as error:
        return str(error)
    command: Any = typer.main.get_command(cli.app)
    tokens = tokens[1:]
    while tokens and hasattr(command, "commands"):
        name = tokens.pop(0)
        if name not in command.commands:
            return f"there is no command {name!r}"
        command = command.commands[name]
    options = {name: param for param in command.params for name in getattr(param, "opts", ()) if name.startswith("-")}
    given = 0
    while tokens:
        token = tokens.pop(0)
        if token.startswith("-"):
            param = options.get(token.split("=")[0])
            if param is None:
                return f"{command.name} has no option {token}"
            if not param.is_flag and "=" not in token:
                if not tokens:
                    return f"{token} wants a value"
                tokens.pop(0)
        else:
            given += 1
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    if given > len(arguments):
        return f"{command.name} takes {len(arguments)} arguments"
    return None


def _spans(text: Page, known: World) -> Iterator[str]:
    yield from (f"`{span}`" for span in text.spans if not _span(span, known))


def _span(span: str, known: World) -> bool:
    if span.startswith("scaffold "):
        return command_problem(span) is None
    if span.startswith("--"):
        return span.split(" ")[0] in _options()
    if span in known.words or span in known.upstream or span in known.target or span in known.profile.provider_fields:
        return True
    if re.fullmatch(r"[\w.<>/{}-]+", span) and ("/" in span or _FILE.search(span) or _PLACEHOLDER.search(span)):
        return _path(span, known)
    owner, *names = span.split(".")
    if names and (owner in OWNERS or owner[:1].isupper()) and all(name.isidentifier() for name in names):
        return all(
            name in known.words or name in known.target for name in (*names, *{owner} - {"self", "text_config"})
        )
    return _quoted(span, known)


@cache
def _options() -> frozenset[str]:
    root: Any = typer.main.get_command(cli.app)
    waiting, found = [root], set()
    while waiting:
        command = waiting.pop()
        waiting += getattr(command, "commands", {}).values()
        found |= {name for param in command.params for name in getattr(param, "opts", ())}
    return frozenset(found)


def _quoted(span: str, known: World) -> bool:
    """A message or an expression of ours; `...` stands for what differs."""
    parts = [part for part in (" ".join(part.split()) for part in span.split("...")) if part]
    bounded = (rf"(?<!\w){re.escape(part)}(?!\w)" for part in parts if part in known.sources)
    return bool(parts) and sum(re.search(pattern, known.sources) is not None for pattern in bounded) == len(parts)


def _path(span: str, known: World) -> bool:
    if span in known.paths:
        return True
    name = span.removeprefix("./").removeprefix("site-packages/")
    if name.startswith(".scaffold/"):
        inside = name.split("/")[2:]
        return not inside or inside[0] in known.words or inside[0] in known.sources
    packages = site_packages()
    assert packages is not None
    glob = _PLACEHOLDER.sub("*", name).strip("/")
    found = any(any(root.glob(part)) for root, part in ((ROOT, glob), (packages, glob.removeprefix("src/"))))
    pieces = [piece for piece in _PLACEHOLDER.split(_FILE.sub("", name)) if piece]
    built = (
        len(pieces)
        and "<" in name
        and all(piece in known.sources for piece in pieces)
        and len(max(pieces, key=len)) > 3
    )
    return found or bool(built) or _quoted(name, known)


def _links(text: Page) -> Iterator[str]:
    for link in text.links:
        if link.startswith(("http://", "https://")):
            yield f"link to {link}: skills work offline"
        elif not (text.path.parent / link.split("#")[0]).is_file():
            yield f"link to {link}"


def _blocks(text: Page, known: World) -> Iterator[str]:
    for block in text.blocks:
        marks = MARKS.get(block.language)
        fits = (block.mark.startswith(mark) if mark.endswith("=") else block.mark == mark for mark in marks or ())
        if not any(fits):
            yield f"a block that is marked {block.info!r}"
        elif block.language == "bash":
            for line in lines(block):
                if not line.words.startswith("scaffold "):
                    yield from _script(line.words, text.path)
                elif problem := command_problem(line.words):
                    yield f"{line.words}: {problem}"
        elif block.language == "python" and not block.mark.startswith("replace="):
            yield from _python(block, known)


def _script(words: str, page: Path) -> Iterator[str]:
    """`python scripts/NAME.py ...`: the script of this skill, with options that it has."""
    program, _, rest = words.partition(" ")
    name, *given = shlex.split(rest)
    skill = page.parent.parent if page.parent.name == "references" else page.parent
    script = skill / name
    if program != "python" or not name.startswith("scripts/") or not script.is_file():
        yield f"a command that is not ours: {words}"
        return
    known = script.read_text(encoding="utf-8")
    yield from (f"{name} has no option {word}" for word in given if word.startswith("--") and f'"{word}"' not in known)


def foreign(text: Page) -> Iterator[str]:
    """Names that Python blocks import from packages which only a checkout has: relative ones."""
    for block in text.blocks:
        if block.language == "python" and not block.mark:
            for node in ast.walk(ast.parse(block.body)):
                if isinstance(node, ast.ImportFrom) and node.level:
                    yield from (alias.name for alias in node.names)


def _python(block: Block, known: World) -> Iterator[str]:
    try:
        tree = ast.parse(block.body)
    except SyntaxError as error:
        yield f"Python that does not parse: {error}"
        return
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(level=level, names=names) if level:
                yield from (f"{one.name} is in no checkout" for one in names if one.name not in known.upstream)
            case ast.ImportFrom(module=str(module), names=names):
                yield from _imported(module, [alias.name for alias in names])
            case ast.Attribute(value=ast.Name(id="provider"), attr=name) if name not in known.profile.provider_fields:
                yield f"provider.{name} is no field"
            case ast.Name(id=name) if name.endswith("Mapping"):
                own = {one.name for one in ast.walk(tree) if isinstance(one, ast.ClassDef)}
                if name not in known.profile.mapping_classes | own:
                    yield f"{name} is no mapping class"


def _imported(module: str, names: Iterable[str]) -> Iterator[str]:
    top = module.split(".")[0]
    packages = site_packages()
    assert packages is not None
    if top not in ("megatron", "transformers"):
        return
    place = packages / module.replace(".", "/")
    candidates = [place.with_suffix(".py"), place / "__init__.py"]
    path = next((one for one in candidates if one.is_file()), None)
    if path is None:
        yield f"there is no module {module}"
        return
    words = set(_WORD.findall(path.read_text(encoding="utf-8")))
    for name in names:
        # transformers' own __init__ lists modules, not classes
        lazily = module == "transformers" and any(_has_class(file, name) for file in place.glob("*.py"))
        if name not in words and not lazily:
            yield f"{module} has no {name}"


def _has_class(path: Path, name: str) -> bool:
    alternatives = {name, name.replace("Pretrained", "PreTrained")}
    text = path.read_text(encoding="utf-8")
    return any(f"class {one}(" in text for one in alternatives)


def _words() -> Iterator[str]:
    yield from (row.name for row in (*FACTS, *ROLES, *CHECKS))
    yield from (name for row in KEYS for name in (row.name, *row.aliases))
    yield from run_folder.FILES.values()
    yield from (field.name for kind in reference._reachable(reference._roots()) for field in fields(kind))
    yield from ("measured", "declared", "assumed", "constrained", "llm", "vlm")


def _definitions(folders: Iterable[Path]) -> Iterator[str]:
    for folder in folders:
        for path in folder.rglob("*.py"):
            yield from _defined(path.read_text(encoding="utf-8", errors="replace"))


def _defined(text: str) -> Iterator[str]:
    yield from (name for found in _DEFINED.findall(text) for name in found if name)


def _is_error(kind: type) -> bool:
    return issubclass(kind, errors.ScaffoldError)
