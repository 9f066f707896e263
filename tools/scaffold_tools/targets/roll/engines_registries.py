"""What vLLM and SGLang register, read from their source: neither is imported, so neither has to run here."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from scaffold_tools.errors import BadInput

Engine = Literal["vllm", "sglang"]
Origin = Literal["checkout", "installed", "recorded"]

CLASS_CHECKS = ("is_backend_compatible", "_can_set_attn_implementation")
"""What the engines ask of a class of transformers before they run it themselves."""


@dataclass(frozen=True)
class Fallback:
    """How an engine runs a class of transformers that it has no model of its own for."""

    architectures: tuple[str, ...]
    """Its own classes for that (`TransformersForCausalLM`, `TransformersMoEForCausalLM`)."""
    conditions: tuple[tuple[str, ...], ...]
    """Class methods of transformers: of each group one has to say yes."""
    split_needs_plan: bool
    """Whether tensor parallelism raises where the class has no tensor parallel plan."""


@dataclass(frozen=True)
class Registry:
    """Architectures of one engine, in one version."""

    engine: Engine
    version: str
    commit: str | None
    origin: Origin
    architectures: Mapping[str, str]
    """Architecture -> `module:Class`."""
    through_transformers: frozenset[str] = frozenset()
    """Those of them that the engine runs by the code of transformers."""
    dropped: Mapping[str, str] = field(default_factory=dict)
    """Architectures that it had -> the last version with them."""
    fallback: Fallback | None = None
    """None where the engine has no way to run a class of transformers."""
    recorded: str | None = None
    """The day of a recorded one."""
    root: Path | None = None
    """What holds the package, unless it is a recorded one."""

    @property
    def label(self) -> str:
        """What was looked at, in words."""
        at = f", commit {self.commit}" if self.commit else ""
        how = {"checkout": f"the checkout{at}", "installed": "installed"}.get(self.origin)
        return f"{self.version} ({how or f'recorded on {self.recorded}{at}'})"


def read_vllm(root: Path, origin: Origin = "checkout") -> Registry:
    """Read `vllm/model_executor/models/registry.py` below `root`.

    Raises:
        BadInput: it is not there, or not built as any version that is known.
    """
    package = root / "vllm"
    tree = _tree(package / "model_executor" / "models" / "registry.py")
    tables = {name: value for name, value in _assignments(tree) if isinstance(value, ast.Dict)}
    if "_TEXT_GENERATION_MODELS" not in tables:
        raise BadInput(f"{package} has no table of text generation models", hint="give the root of a vLLM checkout")
    own = _places(tables, ("_TEXT_GENERATION_MODELS", "_MULTIMODAL_MODELS"))
    borrowed = _places(tables, ("_TRANSFORMERS_SUPPORTED_MODELS",))
    backends = _places(tables, ("_TRANSFORMERS_BACKEND_MODELS", "_TRANSFORMERS_MODELS"))
    gates = [tree, *_trees(package / "model_executor" / "model_loader", "utils.py")]
    runners = _trees(package / "model_executor" / "models", "transformers.py", "transformers/*.py")
    version, commit = _version(root, "vllm")
    return Registry(
        engine="vllm",
        version=version,
        commit=commit,
        origin=origin,
        architectures={**own, **borrowed},
        through_transformers=frozenset(borrowed),
        dropped={str(key): str(last) for key, last in _literals(tables.get("_PREVIOUSLY_SUPPORTED_MODELS"))},
        fallback=_fallback(backends, gates, runners),
        root=root,
    )


def read_sglang(root: Path, origin: Origin = "checkout") -> Registry:
    """Read the `EntryClass` of every module in `sglang/srt/models` below `root` (or below its `python` folder).

    Raises:
        BadInput: there are none.
    """
    root = root / "python" if (root / "python" / "sglang").is_dir() else root
    package = root / "sglang" / "srt"
    found: dict[str, str] = {}
    for path in sorted((package / "models").glob("*.py")):
        for name in _entry_classes(_tree(path)):
            found[name] = f"{path.stem}:{name}"
    if not found:
        raise BadInput(f"{package} has no models", hint="give the root of an SGLang checkout")
    backends = {name: place for name, place in found.items() if place.startswith("transformers:")}
    gates = _trees(package / "model_loader", "utils.py")
    runners = _trees(package / "models", "transformers.py", "transformers/*.py")
    version, commit = _version(root, "sglang")
    return Registry(
        engine="sglang",
        version=version,
        commit=commit,
        origin=origin,
        architectures={name: place for name, place in found.items() if name not in backends},
        fallback=_fallback(backends, gates, runners),
        root=root,
    )


READERS: dict[Engine, Callable[[Path, Origin], Registry]] = {"vllm": read_vllm, "sglang": read_sglang}


def _tree(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError) as error:
        raise BadInput(f"{path} cannot be read as Python: {error}") from error


def _trees(folder: Path, *patterns: str) -> list[ast.Module]:
    return [_tree(path) for pattern in patterns for path in sorted(folder.glob(pattern))]


def _assignments(tree: ast.Module) -> Iterable[tuple[str, ast.expr]]:
    for node in tree.body:
        if isinstance(node, ast.Assign):
            yield from ((name.id, node.value) for name in node.targets if isinstance(name, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            yield node.target.id, node.value


def _places(tables: Mapping[str, ast.Dict], names: Iterable[str]) -> dict[str, str]:
    """`{"ArchForCausalLM": ("module", "Class")}` as architecture -> `module:Class`."""
    rows = [row for name in names for row in _literals(tables.get(name))]
    return {str(key): f"{place[0]}:{place[1]}" for key, place in rows if isinstance(place, tuple) and len(place) == 2}


def _literals(table: ast.Dict | None) -> Iterator[tuple[Any, Any]]:
    """The entries of a table that are literals; what is computed there is no name that could be looked up."""
    for key, value in zip(table.keys, table.values, strict=True) if table else ():
        try:
            if key is not None:
                yield ast.literal_eval(key), ast.literal_eval(value)
        except ValueError:
            continue


def _entry_classes(tree: ast.Module) -> list[str]:
    """The names of the classes that a module offers; SGLang registers a class by its own name."""
    renamed = {
        alias.asname: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    names = []
    for target, value in _assignments(tree):
        if target == "EntryClass":
            names += [node.id for node in ast.walk(value) if isinstance(node, ast.Name)]
    return [renamed.get(name, name) for name in names]


def _fallback(
    backends: Mapping[str, str], gates: Iterable[ast.Module], runners: Iterable[ast.Module]
) -> Fallback | None:
    if not backends:
        return None
    groups = dict.fromkeys(group for tree in gates for group in _conditions(tree))
    return Fallback(
        architectures=tuple(sorted(backends)),
        conditions=tuple(groups),
        split_needs_plan=any(_raises_without_plan(tree) for tree in runners),
    )


def _conditions(tree: ast.Module) -> list[tuple[str, ...]]:
    """The class methods that decide, those of one `or` together."""
    alternatives = [node for node in ast.walk(tree) if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or)]
    together = [_asked(node) for node in alternatives if len(_asked(node)) > 1]
    grouped = {name for group in together for name in group}
    return [*together, *((name,) for name in _asked(tree) if name not in grouped)]


def _asked(node: ast.AST) -> tuple[str, ...]:
    """Those of the class checks that are called below a node; what is only asked for by name (`hasattr`) is not."""
    called = {
        found.func.attr
        for found in ast.walk(node)
        if isinstance(found, ast.Call) and isinstance(found.func, ast.Attribute)
    }
    return tuple(name for name in CLASS_CHECKS if name in called)


def _raises_without_plan(tree: ast.Module) -> bool:
    return any(
        isinstance(node, ast.If)
        and re.search(r"\bnot\b.*tp_plan", ast.unparse(node.test))
        and any(isinstance(found, ast.Raise) for part in node.body for found in ast.walk(part))
        for node in ast.walk(tree)
    )


def _version(root: Path, name: str) -> tuple[str, str | None]:
    """Version and commit: of the installed metadata, of the package's own version file, of git."""
    text = ""
    for path in (*root.glob(f"{name}-*.dist-info/METADATA"), root / "PKG-INFO"):
        if path.is_file():
            found = re.search(r"^Version: (\S+)", path.read_text(encoding="utf-8", errors="replace"), re.M)
            text = text or (found.group(1) if found else "")
    for path in (root / name / "_version.py", root / name / "version.py"):
        source = path.read_text(encoding="utf-8") if path.is_file() else ""
        found = re.search(r"^(?:__version__ = )(?:version = )?['\"]([^'\"]+)['\"]", source, re.M)
        text = text or (found.group(1) if found else "")
        built = re.search(r"commit_id = 'g?([0-9a-f]{7,40})'", source)
        if built:
            return text or "of unknown version", built.group(1)
    return text or "of unknown version", _git_head(root)


def _git_head(root: Path) -> str | None:
    """The commit that a checkout is at, from the files of git."""
    folder = next((place / ".git" for place in (root, root.parent) if (place / ".git" / "HEAD").is_file()), None)
    if folder is None:
        return None
    head = (folder / "HEAD").read_text(encoding="utf-8").strip()
    if not head.startswith("ref: "):
        return head
    name = head.removeprefix("ref: ")
    if (folder / name).is_file():
        return (folder / name).read_text(encoding="utf-8").strip()
    packed = (folder / "packed-refs").read_text(encoding="utf-8") if (folder / "packed-refs").is_file() else ""
    found = re.search(rf"^([0-9a-f]{{40}}) {re.escape(name)}$", packed, re.M)
    return found.group(1) if found else None
