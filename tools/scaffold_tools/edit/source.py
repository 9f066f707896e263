"""Python source as a concrete syntax tree, safely: libcst on bytes keeps BOM, line ends, a missing final newline."""

from __future__ import annotations

import ast
import warnings

import libcst as cst

from scaffold_tools.errors import BadInput


def parse(source: bytes, *, where: str = "the file") -> cst.Module:
    """Parse bytes.

    Python's own parser goes first: libcst ends the process on thousands of nested brackets, Python refuses them.

    Raises:
        BadInput: it is not Python that this version can parse.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source)
        return cst.parse_module(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError, cst.ParserSyntaxError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInput(f"{where} does not parse as Python: {first}") from error


def checked(before: bytes, after: cst.Module, *, where: str = "the file") -> bytes:
    """The bytes of an edited tree, parsed once more; the same bytes when nothing changed.

    Raises:
        BadInput: the edit made something that does not parse; the caller's file is not touched.
    """
    content = after.bytes
    if content != before:
        parse(content, where=f"the edit of {where}")
    return content


def dotted(node: cst.BaseExpression | None) -> str | None:
    """`a.b.c` of a name or attribute chain."""
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        base = dotted(node.value)
        return None if base is None else f"{base}.{node.attr.value}"
    return None
