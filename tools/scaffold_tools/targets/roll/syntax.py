"""Reading a checkout's Python without importing it."""

from __future__ import annotations

import ast
from pathlib import Path

from scaffold_tools.errors import BadInput

HINT = "give a checkout of alibaba/ROLL that has mcore_adapter/src/mcore_adapter"


def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a file.

    Raises:
        BadInput: it is not there, or is no Python.
    """
    if not path.is_file():
        raise BadInput(f"{path} does not exist: not a ROLL that can be generated for", hint=HINT)
    try:
        return ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise BadInput(f"{path} cannot be parsed: {error.msg} at line {error.lineno}", hint=HINT) from error


def classes(tree: ast.Module) -> dict[str, ast.ClassDef]:
    """Top-level classes by name."""
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def functions(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    """Top-level functions by name."""
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def methods(node: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    """Methods of a class by name."""
    return {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}


def parameters(node: ast.FunctionDef) -> tuple[str, ...]:
    """Names of a function's parameters, `self` left out."""
    names = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return tuple(name for name in names if name != "self")


def annotated(node: ast.ClassDef) -> tuple[str, ...]:
    """Names of the fields of a dataclass, in order; class variables and private names left out."""
    return tuple(
        item.target.id
        for item in node.body
        if isinstance(item, ast.AnnAssign)
        and isinstance(item.target, ast.Name)
        and "ClassVar" not in ast.unparse(item.annotation)
        and not item.target.id.startswith("_")
    )


def bases(node: ast.ClassDef) -> tuple[str, ...]:
    """Last names of the base classes."""
    return tuple(ast.unparse(base).rsplit(".", 1)[-1] for base in node.bases)


def call_name(node: ast.expr) -> str | None:
    """Last name of what is called: `register_template` of `template.register_template(...)`."""
    if not isinstance(node, ast.Call):
        return None
    return ast.unparse(node.func).rsplit(".", 1)[-1]


def keywords(node: ast.Call) -> dict[str, ast.expr]:
    """Keyword arguments of a call; `**more` is left out."""
    return {word.arg: word.value for word in node.keywords if word.arg is not None}


def text(node: ast.expr | None) -> str | None:
    """The value of a string literal; None for anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def texts(node: ast.expr | None) -> tuple[str, ...]:
    """The string literals of a list, tuple or set, or of a single literal."""
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return tuple(value for item in node.elts if (value := text(item)) is not None)
    single = text(node)
    return () if single is None else (single,)
