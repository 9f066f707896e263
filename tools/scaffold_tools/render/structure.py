"""Whether rendered text has the shape that its template gives it, whatever the values were.

The template is rendered twice from the same context, with the values and with a placeholder for each; both are parsed.
Where the placeholder tree has a placeholder, the real tree must have exactly the node that the value's own text parses
to; everywhere else both must be equal. A value that ended a string, a comment or a line gives another tree, so it is
found whichever filter or template was at fault.
"""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
import tomllib
from collections.abc import Mapping
from typing import Any

from scaffold_tools.errors import Refused
from scaffold_tools.render.slots import CODE, SlotLog


class UnsafeRender(Refused):
    """Rendered text does not have the shape of its template: a value became code, or the template is not sound."""


class _Differs(Exception):
    """Real and placeholder tree differ; the argument says where."""


def check_python(real: str, placeholder: str, slots: SlotLog, *, where: str) -> None:
    """Compare syntax trees and comments.

    Args:
        real: the rendering with values.
        placeholder: the rendering with placeholders.
        slots: what the placeholders stand for.
        where: the template, for the message.

    Raises:
        UnsafeRender: `real` does not parse or has another shape.
    """
    try:
        real_tree, slot_tree = _parse(real), _parse(placeholder)
        _same(slot_tree, real_tree, slots)
        if [slots.fill(text) for text in _comments(placeholder)] != _comments(real):
            raise _Differs("a comment")
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError) as error:
        raise UnsafeRender(f"{where} does not render to Python: {error}", hint="fix the template") from error
    except _Differs as error:
        raise UnsafeRender(
            f"{where}: a value changed the shape of the code at {error}", hint="fix the template"
        ) from None


def _parse(text: str) -> ast.Module:
    data = text.encode("utf-8")  # bytes, so that a coding line is honoured as Python would honour it
    encoding = tokenize.detect_encoding(io.BytesIO(data).readline)[0]
    if encoding != "utf-8":
        raise ValueError(f"a comment sets the encoding to {encoding}")
    return ast.parse(data)


def _comments(text: str) -> list[str]:
    tokens = tokenize.generate_tokens(io.StringIO(text, newline="").readline)
    return [token.string for token in tokens if token.type == tokenize.COMMENT]


def _same(slot: Any, real: Any, slots: SlotLog) -> None:
    """Raise `_Differs` unless `real` is `slot` with its placeholders filled."""
    if isinstance(slot, ast.AST):
        _same_node(slot, real, slots)
    elif isinstance(slot, list):
        if not isinstance(real, list) or len(slot) != len(real):
            raise _Differs("a list of statements or items")
        for one, other in zip(slot, real, strict=True):
            _same(one, other, slots)
    elif isinstance(slot, str):
        if not slots.only_code(slot) or slots.fill(slot) != real:
            raise _Differs(repr(real)[:80])
    elif isinstance(slot, bytes):
        if slots.fill(slot.decode("latin-1")).encode("latin-1", "replace") != real:
            raise _Differs(repr(real)[:80])
    elif type(slot) is not type(real) or repr(slot) != repr(real):
        raise _Differs(repr(real)[:80])


def _same_node(slot: ast.AST, real: Any, slots: SlotLog) -> None:
    if isinstance(slot, ast.Name) and (value := slots.whole(slot.id)) is not None:
        if value.kind not in CODE or _dump(ast.parse(value.text, mode="eval").body) != _dump(real):
            raise _Differs(f"line {getattr(real, 'lineno', '?')}")
        return
    slot_name, real_name = _dotted(slot), _dotted(real)
    if slot_name is not None and real_name is not None:
        if not slots.only_code(slot_name) or slots.fill(slot_name) != real_name:
            raise _Differs(f"line {getattr(real, 'lineno', '?')}")
        return
    if type(slot) is not type(real):
        raise _Differs(f"line {getattr(real, 'lineno', '?')}")
    if isinstance(slot, ast.Constant) and isinstance(slot.value, str):
        assert isinstance(real, ast.Constant)
        if slots.fill(slot.value) != real.value:  # text of any filter may stand inside a string
            raise _Differs(f"the string in line {real.lineno}")
        return
    for name, value in ast.iter_fields(slot):
        _same(value, getattr(real, name), slots)


def _dotted(node: Any) -> str | None:
    """`a.b.c` as text when the node is only that; a dotted placeholder is one name but its value may be several."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := _dotted(node.value)) is not None:
        return f"{base}.{node.attr}"
    return None


def _dump(node: Any) -> str:
    if not isinstance(node, ast.AST):
        raise _Differs("a value outside an expression")
    return re.sub(r"(, )?ctx=(Load|Store|Del)\(\)", "", ast.dump(node))


def check_data(real: str, placeholder: str, slots: SlotLog, *, kind: str, where: str) -> None:
    """The same for TOML and JSON: equal documents once placeholders are filled.

    Raises:
        UnsafeRender: `real` does not parse or has another shape.
    """
    load = {"toml": tomllib.loads, "json": json.loads}[kind]
    values = {token: _value(slot.text, kind) for token, slot in slots.slots.items()}
    try:
        expected, found = _filled(load(placeholder), values, slots), load(real)
    except (ValueError, RecursionError) as error:
        raise UnsafeRender(f"{where} does not render to {kind.upper()}: {error}", hint="fix the template") from error
    if repr(expected) != repr(found):
        raise UnsafeRender(f"{where}: a value changed the shape of the document", hint="fix the template")


def _value(text: str, kind: str) -> Any:
    """What a slot's text means as a value of the format; texts of other filters only ever fill parts of strings."""
    try:
        return tomllib.loads(f"v = {text}")["v"] if kind == "toml" else json.loads(text)
    except (ValueError, RecursionError, KeyError):
        return text


def _filled(document: Any, values: Mapping[str, Any], slots: SlotLog) -> Any:
    if isinstance(document, dict):
        return {slots.fill(key): _filled(item, values, slots) for key, item in document.items()}
    if isinstance(document, list):
        return [_filled(item, values, slots) for item in document]
    if isinstance(document, str):
        return values[document] if document in values else slots.fill(document)
    return document


def check_text(real: str, placeholder: str, slots: SlotLog, *, where: str) -> None:
    """For formats without a parser here (Markdown, YAML, shell): every line is the template's line, filled.

    Raises:
        UnsafeRender: a value added or ended a line.
    """
    if [slots.fill_quoted(line) for line in placeholder.splitlines()] != real.splitlines():
        raise UnsafeRender(f"{where}: a value changed the lines of the text", hint="fix the template")
