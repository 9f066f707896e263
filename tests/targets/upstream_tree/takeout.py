"""Takes one model out of a Megatron-Bridge checkout, as if nobody had added it yet.

What belongs to the model follows from the source: the module that registers its architecture, the modules that only
that one imports, what imports those (recipes), the tests that import any of them, and the pages that link to them.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scaffold_tools.errors import BadInput
from scaffold_tools.targets.megatron_bridge.profile import read_profile

MODELS = "megatron.bridge.models"
RECIPES = ("megatron.bridge.recipes", "megatron.bridge.perf_recipes")


@dataclass(frozen=True)
class Imported:
    """One `from module import names` of a file."""

    module: str
    names: tuple[str, ...]
    lines: tuple[int, int]
    """First and last, counted from 1."""


@dataclass(frozen=True)
class Symbol:
    """A class or function at the top of a module."""

    name: str
    module: str
    bases: tuple[str, ...]
    """Names of a class's bases, as their own modules call them; none for a function."""
    is_class: bool


@dataclass(frozen=True)
class TakenOut:
    """What is gone."""

    architecture: str
    module: str
    """The module that registered it, or "" where the checkout has none."""
    bridge: str
    """The class."""
    by_string: bool = False
    modules: tuple[str, ...] = ()
    """Of models, the bridge's included."""
    recipes: tuple[str, ...] = ()
    symbols: tuple[Symbol, ...] = ()
    """What those modules of models defined."""
    passed_on: tuple[tuple[str, str, str], ...] = ()
    """(name, module, its name there) that those modules import from elsewhere."""
    unit_tests: tuple[tuple[str, str], ...] = ()
    """(path, text) of tests that import a model's module: what ours has to pass."""
    recipe_tests: tuple[str, ...] = ()
    """Paths of tests that import a recipe's module and went with it."""
    pages: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    """Other files that went: functional tests, launch scripts."""


def take_out(root: Path, architecture: str, site_packages: Path | None = None) -> TakenOut:
    """Remove a model from a checkout; nothing to do where it has none.

    Raises:
        BadInput: a module that stays needs one that would have to go.
    """
    own = read_profile(root, lane_site_packages=site_packages).registration(architecture)
    if own is None:
        return TakenOut(architecture, "", "")
    tree = _Tree(root)
    modules = tree.alone_needed_by(own.module)
    recipes = tree.recipes_of(modules, own.module)
    gone = {*modules, *recipes}
    symbols = tuple(symbol for module in sorted(modules) for symbol in symbols_of(tree.path(module), module))
    passed_on = tuple(
        sorted({row for module in modules for row in _passed_on(tree.path(module)) if row[1] not in gone})
    )
    tests = tree.tests_of(gone | tree.emptied(gone))
    unit = "tests/unit_tests/"
    of_models = tuple(sorted(path for path, used in tests.items() if path.startswith(unit) and used & modules))
    of_recipes = tuple(sorted(path for path, used in tests.items() if path.startswith(unit) and not used & modules))
    kept_text = tuple((path, (root / path).read_text()) for path in of_models)
    paths = {tree.path(module) for module in gone}
    pages = _pages(root, {str(path.relative_to(root)) for path in paths}, _stem(own.module))
    others = _functional(root, architecture, [path for path in tests if not path.startswith(unit)])
    names = {name for module in gone for name in (*tree.defined(module), *tree.passed_on_names(module))}
    for path in [*paths, *(root / one for one in (*of_models, *of_recipes, *pages, *others))]:
        path.unlink()
    tree.forget(gone, names)
    _forget_pages(root, set(pages))
    _forget_registration(root, architecture)
    _remove_empty(root)
    return TakenOut(
        architecture=architecture,
        module=own.module,
        bridge=own.bridge,
        by_string=own.by == "string",
        modules=tuple(sorted(modules)),
        recipes=tuple(sorted(recipes)),
        symbols=symbols,
        passed_on=passed_on,
        unit_tests=kept_text,
        recipe_tests=of_recipes,
        pages=tuple(pages),
        others=tuple(others),
    )


def _stem(module: str) -> str:
    return module.rsplit(".", 1)[-1].removesuffix("_bridge")


class _Tree:
    """The modules of a checkout and who imports whom."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.source = root / "src"
        self.files = {self._module(path): path for path in sorted(self.source.rglob("*.py"))}
        self.imports = {name: tuple(imports_of(path, name)) for name, path in self.files.items()}

    def _module(self, path: Path) -> str:
        parts = path.relative_to(self.source).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def path(self, module: str) -> Path:
        return self.files[module]

    def importers(self, module: str) -> set[str]:
        """Modules that import it, packages that only pass its names on left out."""
        return {
            name
            for name, found in self.imports.items()
            if self.files[name].name != "__init__.py" and any(_means(one, module) for one in found)
        }

    def alone_needed_by(self, bridge: str) -> set[str]:
        """The bridge's module and those of its folder that nothing outside of them imports."""
        gone = {bridge}
        folder = bridge.rpartition(".")[0]
        while True:
            wanted = {
                name
                for name in self.files
                if name.rpartition(".")[0] == folder
                and name not in gone
                and self.files[name].name != "__init__.py"
                and (users := self.importers(name) & set(self._under(MODELS)))
                and users <= gone
            }
            if not wanted:
                break
            gone |= wanted
        outside = {user for name in gone for user in self.importers(name)} - gone - set(self._under(*RECIPES))
        if outside:
            raise BadInput(f"{', '.join(sorted(outside))} needs {bridge}, which cannot go alone")
        return gone

    def recipes_of(self, modules: set[str], bridge: str) -> set[str]:
        """Recipes that import the model's modules, are called what its bridge is called, or import such a one."""
        under = [name for name in self._under(*RECIPES) if self.files[name].name != "__init__.py"]
        names = {symbol for module in modules for symbol in self.defined(module)}
        gone = {name for name in under if name.rpartition(".")[2] == _stem(bridge)}
        gone |= {name for name in under if any(set(one.names) & names for one in self.imports[name])}
        while more := {user for name in gone for user in self.importers(name)} - gone:
            if strangers := more - set(under):
                raise BadInput(f"{', '.join(sorted(strangers))} needs recipes of {bridge}")
            gone |= more
        return gone

    def emptied(self, gone: set[str]) -> set[str]:
        """Packages of which no module stays."""
        packages = {name.rpartition(".")[0] for name in gone}
        packages |= {name.rpartition(".")[0] for name in packages}
        own = {name for name in self.files if self.files[name].name != "__init__.py"}
        return {one for one in packages if all(name in gone for name in own if name.startswith(f"{one}."))}

    def _under(self, *packages: str) -> list[str]:
        return [name for name in self.files if name.startswith(tuple(f"{package}." for package in packages))]

    def defined(self, module: str) -> list[str]:
        """Names that a module defines at its top."""
        body = ast.parse(self.files[module].read_text()).body
        return [node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)]

    def tests_of(self, gone: set[str]) -> dict[str, set[str]]:
        """Tests that import a module that goes, by statement or by string, or a name of it: with which."""
        found = {}
        homes = {symbol: module for module in gone for symbol in self.defined(module)}
        words = re.compile(r"\b(" + "|".join({*homes, *(module.rpartition(".")[2] for module in gone)}) + r")\b")
        for path in sorted((self.root / "tests").rglob("test_*.py")):
            text = path.read_text()
            if not words.search(text):
                continue
            used = _named(text, gone)
            used |= {module for one in imports_of(path, "") for module in gone if _means(one, module)}
            packages = {module.rpartition(".")[0] for module in gone}
            for one in imports_of(path, ""):
                if any(one.module == package or package.startswith(f"{one.module}.") for package in packages):
                    used |= {homes[name] for name in one.names if name in homes}
            if used:
                found[str(path.relative_to(self.root))] = used
        return found

    def forget(self, gone: set[str], names: set[str]) -> None:
        """Drop imports of what is gone from the packages' `__init__` files, and its names from their `__all__`."""
        for name, path in self.files.items():
            if path.name == "__init__.py" and path.is_file():
                _forget_names(path, self.imports[name], gone, names)

    def passed_on_names(self, module: str) -> list[str]:
        """Names that a package's `__init__` takes from a module: also what that one imports itself."""
        return [
            name
            for owner, found in self.imports.items()
            if self.files[owner].name == "__init__.py"
            for one in found
            if one.module == module
            for name in one.names
            if name != "*"
        ]


def symbols_of(path: Path, module: str) -> Iterator[Symbol]:
    """Classes and functions that a module defines at its top."""
    tree = ast.parse(path.read_text())
    known = {
        alias.asname: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            bases = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
            yield Symbol(node.name, module, tuple(known.get(base, base) for base in bases), True)
        elif isinstance(node, ast.FunctionDef):
            yield Symbol(node.name, module, (), False)


def _passed_on(path: Path) -> Iterator[tuple[str, str, str]]:
    """Imported names, and those that are an attribute of an imported module under another name."""
    tree = ast.parse(path.read_text())
    homes = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                homes[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield alias.asname or alias.name, node.module, alias.name
    for node in tree.body:
        value = node.value if isinstance(node, ast.Assign) else None
        if isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name) and value.value.id in homes:
            assert isinstance(node, ast.Assign)
            yield ast.unparse(node.targets[0]), homes[value.value.id], value.attr


def _named(text: str, gone: set[str]) -> set[str]:
    """Modules that a test names in strings; none where it names others too, as a list of all models does."""
    strings = set(re.findall(r"""["'](megatron\.bridge\.(?:models|recipes|perf_recipes)\.[\w.]+)""", text))
    found = {one: {name for name in gone if one == name or one.startswith(f"{name}.")} for one in strings}
    return set().union(*found.values()) if all(found.values()) else set()


def _means(one: Imported, module: str) -> bool:
    package, _, last = module.rpartition(".")
    return one.module == module or (one.module == package and last in one.names)


def imports_of(path: Path, module: str) -> Iterator[Imported]:
    """Every import of a file, relative ones resolved against its module's name."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Imported(alias.name, (), (node.lineno, node.end_lineno or node.lineno))
        if isinstance(node, ast.ImportFrom):
            base = package
            for _ in range(node.level - 1):
                base = base.rpartition(".")[0]
            whole = node.module or "" if not node.level else ".".join(filter(None, (base, node.module)))
            names = tuple(alias.name for alias in node.names)
            yield Imported(whole, names, (node.lineno, node.end_lineno or node.lineno))


def _forget_names(path: Path, found: Iterable[Imported], gone: set[str], names: set[str]) -> None:
    text = path.read_text()
    lines: list[str | None] = list(text.splitlines(keepends=True))
    for one in found:
        first, last = one.lines
        if one.module in gone or any(package_gone(one.module, module, path) for module in gone):
            lines[first - 1 : last] = [None] * (last - first + 1)
        elif set(one.names) & names and one.module.startswith("megatron.bridge."):
            kept = [name for name in one.names if name not in names]
            statement = f"from {one.module} import ({', '.join(kept)},)\n" if kept else None
            lines[first - 1 : last] = [statement, *[None] * (last - first)]
    dropped: set[int] = set()
    for listed in _all_lists(ast.parse(text)):
        gone_ones = [one for one in listed.elts if isinstance(one, ast.Constant) and one.value in names]
        if len({one.lineno for one in listed.elts}) == len(listed.elts):
            dropped |= {one.lineno for one in gone_ones}
        elif gone_ones:
            last = listed.end_lineno or listed.lineno
            kept = ", ".join(ast.unparse(one) for one in listed.elts if one not in gone_ones)
            head = (lines[listed.lineno - 1] or "")[: listed.col_offset]
            lines[listed.lineno - 1 : last] = [f"{head}[{kept}]\n", *[None] * (last - listed.lineno)]
    after = "".join(line for number, line in enumerate(lines, 1) if line is not None and number not in dropped)
    if after != text:
        path.write_text(after)
        _tidy(path)


def _tidy(path: Path) -> None:
    """What the checkout's linter would ask of whoever took the names out."""
    root = next(parent for parent in path.parents if parent.name == "src").parent
    settings = ["--config", str(root / "ruff.toml")] if (root / "ruff.toml").is_file() else ["--isolated"]
    ruff = str(Path(sys.executable).parent / "ruff")
    subprocess.run([ruff, "check", "-q", "--no-cache", "--select", "I", "--fix", *settings, str(path)], check=True)
    subprocess.run([ruff, "format", "-q", "--no-cache", *settings, str(path)], check=True)


def package_gone(imported: str, module: str, path: Path) -> bool:
    """Whether `from package import *` names a package that lost its last module."""
    folder = module.rpartition(".")[0]
    if imported != folder:
        return False
    place = next(parent for parent in path.parents if parent.name == "src") / folder.replace(".", "/")
    return not any(one.name != "__init__.py" for one in place.rglob("*.py"))


def _all_lists(tree: ast.Module) -> Iterator[ast.List | ast.Tuple]:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(one, ast.Name) and one.id == "__all__" for one in targets):
            for part in ast.walk(node):
                if isinstance(part, ast.List | ast.Tuple):
                    yield part


_LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


def _pages(root: Path, paths: set[str], stem: str) -> list[str]:
    """Pages of docs/models about this model alone: called like it, or linking to its modules and no others'."""
    found = []
    for page in sorted((root / "docs" / "models").rglob("*.md")):
        text = page.read_text()
        bridges = set(re.findall(r"src/megatron/bridge/models/[\w/]+_bridge\.py", text))
        alone = bool(bridges) and bridges <= paths
        if page.name not in ("index.md", "README.md") and (alone or _plain(page.stem) == _plain(stem)):
            found.append(str(page.relative_to(root)))
    return found


def _plain(text: str) -> str:
    return re.sub(r"[-_.]", "", text)


def _forget_pages(root: Path, pages: set[str]) -> None:
    """Rows and toctree lines that lead to a page that is gone."""
    while pages:
        emptied: set[str] = set()
        for page in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]:
            if "fern" in page.parts:
                continue
            lines = page.read_text().splitlines(keepends=True)
            kept = [left for line in lines if (left := _without_links(line, page, root, pages)) is not None]
            if kept == lines:
                continue
            page.write_text("".join(kept))
            others = [one for one in page.parent.glob("*.md") if one != page]
            if page.name == "index.md" and not others and page.parent.parent.name == "models":
                page.unlink()
                emptied.add(str(page.relative_to(root)))
        pages = emptied


def _without_links(line: str, page: Path, root: Path, pages: set[str]) -> str | None:
    """A line without its links to pages that are gone; None where it was about nothing else."""

    def is_gone(target: str) -> bool:
        place = (page.parent / target).resolve()
        return place.is_relative_to(root.resolve()) and str(place.relative_to(root.resolve())) in pages

    if re.fullmatch(r"\s*[\w./-]+\.md\s*", line):
        return None if is_gone(line.strip()) else line
    targets = _LINK.findall(line)
    gone = {target for target in targets if is_gone(target)}
    if not gone:
        return line
    if gone == set(targets):
        return None
    for target in gone:
        line = re.sub(rf"(, )?\[[^\[\]]*\]\({re.escape(target)}[^)]*\)", "", line)
    return line.replace("| , ", "| ")


def _functional(root: Path, architecture: str, importing: Iterable[str]) -> list[str]:
    """Functional tests that name the architecture or import a module that goes, and launch scripts of nothing else."""
    word = re.compile(rf"\b{re.escape(architecture)}\b")
    top = root / "tests" / "functional_tests"
    models = sorted((top / "test_groups" / "models").rglob("test_*.py"))
    tests = {str(path.relative_to(root)) for path in models if word.search(path.read_text())} | set(importing)
    scripts = []
    for script in sorted((top / "launch_scripts").rglob("*.sh")):
        named = set(re.findall(r"tests/functional_tests/test_groups/[\w/]+(?:\.py)?", script.read_text()))
        run = {str(one.relative_to(root)) for name in named for one in _tests_in(root / name)}
        if run and run <= tests:
            scripts.append(str(script.relative_to(root)))
    return [*sorted(tests), *scripts]


def _tests_in(place: Path) -> list[Path]:
    return [place] if place.suffix == ".py" else sorted(place.rglob("test_*.py"))


def _forget_registration(root: Path, architecture: str) -> None:
    """Its rows of the registration matrix."""
    path = root / "tests" / "unit_tests" / "models" / "test_autobridge_registration_matrix.py"
    text = path.read_text()
    drop: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == architecture:
                    drop |= set(range(key.lineno, (value.end_lineno or value.lineno) + 1))
        if isinstance(node, ast.Set):
            drop |= {e.lineno for e in node.elts if isinstance(e, ast.Constant) and e.value == architecture}
    # The closing line of a value in parentheses is no node of its own.
    lines = text.splitlines(keepends=True)
    for number in sorted(drop):
        if lines[number - 1].rstrip().endswith("(") or (number in drop and lines[number].strip() == "),"):
            drop.add(number + 1)
    path.write_text("".join(line for number, line in enumerate(lines, 1) if number not in drop))


def _remove_empty(root: Path) -> None:
    """Folders that hold nothing but `__init__.py` files any more."""
    for top in (
        "src/megatron/bridge/models",
        "src/megatron/bridge/recipes",
        "tests/unit_tests/models",
        "tests/functional_tests/test_groups/models",
    ):
        for folder in sorted((root / top).rglob("*"), reverse=True):
            if not folder.is_dir() or folder.name == "__pycache__":
                continue
            files = [one for one in folder.rglob("*") if one.is_file() and "__pycache__" not in one.parts]
            if all(one.name == "__init__.py" and not _says_something(one) for one in files):
                shutil.rmtree(folder)


def _says_something(init: Path) -> bool:
    """Whether an `__init__.py` does more than list names that are gone."""
    for node in ast.parse(init.read_text()).body:
        named = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        if not isinstance(node, ast.Expr) and not named:
            return True
    return False
