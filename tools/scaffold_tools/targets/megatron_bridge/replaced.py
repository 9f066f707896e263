"""What a checkout loses when modules of its own are written anew: names that other files of it still import."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scaffold_tools.errors import Refused
from scaffold_tools.workspace.plan import Change

SOURCE = "src/"


@dataclass(frozen=True)
class Lost:
    """Names that a file imports from a module, and that the module will not have any more."""

    user: str
    module: str
    names: tuple[str, ...]


def lost_names(changes: Sequence[Change], root: Path) -> tuple[Lost, ...]:
    """Imports that would fail once the changes are made, by file.

    Files that the plan writes count as they will be, all others as they are.
    """
    gone = {}
    for change in changes:
        if change.kind == "create" and change.path.startswith(SOURCE) and (root / change.path).is_file():
            after = _names(change.content)
            if names := _names(_text(root / change.path)) - after:
                gone[_module(change.path)] = names
    planned = {change.path: change.content for change in changes if change.path.endswith(".py")}
    tails = {module.rpartition(".")[2] for module in gone}
    found = []
    for path, text in _files(root, planned) if gone else ():
        if not any(tail in text for tail in tails):  # a checkout has thousands of files, and few of them say the name
            continue
        for module, names in _imports(path, text):
            if used := names & gone.get(module, set()):
                found.append(Lost(path, module, tuple(sorted(used))))
    return tuple(found)


def check_replaced(changes: Sequence[Change], root: Path) -> tuple[str, ...]:
    """Notes on tests that lose what they test.

    Raises:
        Refused: a module that stays would not import any more.
    """
    lost = lost_names(changes, root)
    if broken := [one for one in lost if one.user.startswith(SOURCE)]:
        one = broken[0]
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise Refused(
            f"{one.user} imports {', '.join(one.names)} of {one.module}, which would be written anew without{more}",
            hint="take those imports out first, or leave --repo away for a package of its own",
        )
    return tuple(f"{one.user} tests {', '.join(one.names)}, which {one.module} has no longer" for one in lost)


def _files(root: Path, planned: dict[str, str]) -> Iterator[tuple[str, str]]:
    yield from planned.items()
    for top in ("src", "tests", "scripts", "examples"):
        for path in sorted((root / top).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            if name not in planned:
                yield name, _text(path)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _module(path: str) -> str:
    return path.removeprefix(SOURCE).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _tree(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except SyntaxError:  # a file of the checkout that no interpreter of ours reads
        return ast.Module(body=[], type_ignores=[])


def _names(text: str) -> set[str]:
    """What a module has at its top: definitions, assignments and imports, in branches as well."""
    names: set[str] = set()
    for node in _tree(text).body:
        for part in ast.walk(node) if isinstance(node, ast.Try | ast.If) else (node,):
            if isinstance(part, ast.ClassDef | ast.FunctionDef):
                names.add(part.name)
            elif isinstance(part, ast.Import | ast.ImportFrom):
                names |= {(alias.asname or alias.name).partition(".")[0] for alias in part.names}
            elif isinstance(part, ast.Assign | ast.AnnAssign):
                targets = part.targets if isinstance(part, ast.Assign) else [part.target]
                names |= {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}
    return names


def _imports(path: str, text: str) -> Iterator[tuple[str, set[str]]]:
    """(module, names) of each `from module import names`, relative ones resolved."""
    own = _module(path)
    package = own if path.endswith("/__init__.py") else own.rpartition(".")[0]
    for node in ast.walk(_tree(text)):
        if isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module or "")))
            yield module, {alias.name for alias in node.names}
