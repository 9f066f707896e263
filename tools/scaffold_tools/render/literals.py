"""Values as text that is safe in one place each: Python literals, identifiers, prose, shell, Markdown, data formats.

Every function takes hostile input and either returns text that is safe where its name says, or raises BadInput.
"""

from __future__ import annotations

import ast
import json
import math
import re
import shlex
from typing import Any

from scaffold_tools.errors import BadInput
from scaffold_tools.text import checked_dotted, checked_identifier, one_line

__all__ = [
    "checked_dotted",
    "checked_expression",
    "checked_identifier",
    "json_value",
    "markdown_code",
    "markdown_text",
    "one_line",
    "python_literal",
    "quoted",
    "shell_word",
    "toml_value",
]

_MAX_DEPTH = 60


def python_literal(value: Any) -> str:
    """A Python expression equal to plain data, on one line; floats exact, strings in double quotes.

    Infinities and NaN become `float("inf")` and its like, since Python has no literal for them.

    Raises:
        BadInput: the value is not plain data (None, bool, int, float, str, list, tuple, dict), or is nested too deep.
    """
    return _literal(value, 0)


def _literal(value: Any, depth: int) -> str:
    if depth > _MAX_DEPTH:
        raise BadInput(f"data nested deeper than {_MAX_DEPTH} levels cannot be written into code")
    kind = type(value)
    if value is None or kind is bool:
        return repr(value)
    if kind is int:
        return _integer(value)
    if kind is float:
        return repr(value) if math.isfinite(value) else f'float("{value}")'
    if kind is str:
        return quoted(value)
    if kind is list:
        return "[" + ", ".join(_literal(item, depth + 1) for item in value) + "]"
    if kind is tuple:
        items = [_literal(item, depth + 1) for item in value]
        return f"({items[0]},)" if len(items) == 1 else "(" + ", ".join(items) + ")"
    if kind is dict:
        pairs = (f"{_literal(key, depth + 1)}: {_literal(item, depth + 1)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    raise BadInput(f"a {kind.__name__} cannot be written into code as a literal")


def _integer(value: int) -> str:
    try:
        return repr(value)
    except ValueError as error:
        raise BadInput(f"an integer of {value.bit_length()} bits cannot be written into code") from error


def quoted(text: str) -> str:
    """A double-quoted Python string literal on one line; what is not printable is escaped, so nothing hides in it."""
    if not isinstance(text, str):
        raise BadInput(f"a {type(text).__name__} where a string is needed")
    return '"' + "".join(_escaped(char) for char in text) + '"'


_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _escaped(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_CALLABLE_NAMES = frozenset(
    (
        *("abs", "all", "any", "bool", "dict", "enumerate", "float", "getattr", "int", "isinstance", "len", "list"),
        *("max", "min", "partial", "range", "round", "set", "sorted", "str", "sum", "tuple", "zip"),
    )
)
_CALLABLE_METHODS = frozenset(("count", "get", "index", "items", "keys", "values"))
_EXPRESSION_NODES = (
    ast.Expression, ast.Name, ast.Attribute, ast.Subscript, ast.Slice, ast.Constant, ast.BinOp, ast.BoolOp,
    ast.UnaryOp, ast.Compare, ast.IfExp, ast.Call, ast.keyword, ast.Tuple, ast.List, ast.Dict, ast.ListComp,
    ast.GeneratorExp, ast.comprehension, ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip


def checked_expression(source: Any, calls: tuple[str, ...] = ()) -> str:
    """Python source that the tools composed (`hf_config.head_dim**-0.5`), when it is one harmless expression.

    Config strings inside it must have come through `python_literal`. Allowed: names, attributes, subscripts,
    operators, conditionals, displays, comprehensions, and calls of a few builtins, of `.get` and its like, of `calls`.

    Raises:
        BadInput: it is something else, has a dunder name, or spans lines.
    """
    if not isinstance(source, str) or not source.isprintable():
        raise BadInput(f"{source!r} is not an expression on one line")
    try:
        tree = ast.parse(source.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise BadInput(f"{source!r} is not a Python expression") from error
    for node in ast.walk(tree):
        if not isinstance(node, _EXPRESSION_NODES):
            raise BadInput(f"{source!r} has a {type(node).__name__}, which generated code does not use")
        name = getattr(node, "id", None) or getattr(node, "attr", None)
        if name is not None and (not name.isascii() or name.startswith("__")):
            raise BadInput(f"{source!r} uses the name {name!r}")
        if isinstance(node, ast.Call):
            _check_call(node, source, calls)
    return source.strip()


def _check_call(node: ast.Call, source: str, calls: tuple[str, ...]) -> None:
    called = node.func
    if isinstance(called, ast.Name) and (called.id in _CALLABLE_NAMES or called.id in calls):
        return
    if isinstance(called, ast.Attribute) and (called.attr in _CALLABLE_METHODS or ast.unparse(called) in calls):
        return
    raise BadInput(f"{source!r} calls {ast.unparse(called)!r}, which is not in the list of callables")


def markdown_text(text: Any) -> str:
    """Free text inside a Markdown paragraph or table cell: one line, no markup, no link, no mention."""
    if not isinstance(text, str):
        text = str(text) if type(text) in (int, float, bool) else one_line(text)
    folded = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    folded = folded.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "(at)")
    folded = re.sub(r"([\\`*\[\]|~$!#{}])", r"\\\1", folded)
    folded = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", folded)
    folded = re.sub(r"(?i)\b(https?|ftp|javascript|data|file)://?", r"\1 : ", folded)
    folded = re.sub(r"(?i)\bwww\.", "www ", folded)
    return re.sub(r"^([-+=:]|\d+(?=[.)]))", r"\\\1" if not folded[:1].isdigit() else r"\1\\", folded)


def markdown_code(text: Any) -> str:
    """An inline code span, safe in a table cell too."""
    if not isinstance(text, str):
        text = python_literal(text)
    folded = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return "`" + (folded.replace("`", "'").replace("|", "\N{BROKEN BAR}") or " ") + "`"


def https_url(text: Any) -> str:
    """The target of a Markdown link, of characters that cannot end it.

    Raises:
        BadInput: anything but a plain https address.
    """
    if not isinstance(text, str) or not re.fullmatch(
        r"https://[A-Za-z0-9.-]+(/[A-Za-z0-9._/-]*)?(#[A-Za-z0-9-]+)?", text
    ):
        raise BadInput(f"{text!r} cannot be written as a link")
    return text


def shell_word(text: Any) -> str:
    """One POSIX shell word.

    Raises:
        BadInput: it holds a character that is not printable (a newline would also end a code fence).
    """
    if not isinstance(text, str) or not text.isprintable():
        raise BadInput(f"{text!r} cannot be written as a shell word")
    return shlex.quote(text)


def json_value(value: Any) -> str:
    """JSON, ASCII only and on one line; also a valid YAML flow value.

    Raises:
        BadInput: the value has no exact JSON form (NaN, other types).
    """
    python_literal(value)  # plain data only, bounded depth
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=True)
    except (ValueError, TypeError) as error:
        raise BadInput(f"{one_line(str(error))}: the value has no JSON form") from error


def toml_value(value: Any) -> str:
    """A TOML value: string, integer, float, boolean, or an array of those.

    Raises:
        BadInput: TOML has no form for it.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if type(value) in (int, float):
        return python_literal(value) if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return '"' + "".join(_toml_escaped(char) for char in value) + '"'
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    raise BadInput(f"a {type(value).__name__} cannot be written into TOML")


def _toml_escaped(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    if char.isprintable():
        return char
    if 0xD800 <= ord(char) < 0xE000:
        raise BadInput("a lone surrogate cannot be written into TOML")
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
