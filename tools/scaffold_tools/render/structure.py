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


class UnsafeRender(Refused):
    """Rendered text does not have the shape of its template: a value became code, or the template is not sound."""


class _Differs(Exception):
    """Real and placeholder tree differ; the argument says where."""


class _Slots:
    """Placeholder token to the text that stands there."""

    def __init__(self, texts: Mapping[str, str], prefix: str) -> None:
        self.texts = texts
        self._pattern = re.compile(re.escape(prefix) + r"\d+z")

    def fill(self, text: str) -> str:
        """The text with every placeholder replaced."""
        return self._pattern.sub(lambda found: self.texts[found.group()], text)

    def whole(self, text: str) -> str | None:
        """What stands there, when the text is exactly one placeholder."""
        return self.texts.get(text)


def check_python(real: str, placeholder: str, texts: Mapping[str, str], prefix: str, *, where: str) -> None:
    """Compare syntax trees and comments.

    Args:
        real: the rendering with values.
        placeholder: the rendering with placeholders.
        texts: placeholder to the text that stands there in `real`.
        prefix: what every placeholder begins with.
        where: the template, for the message.

    Raises:
        UnsafeRender: `real` does not parse or has another shape.
    """
    slots = _Slots(texts, prefix)
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


def _same(slot: Any, real: Any, slots: _Slots) -> None:
    """Raise `_Differs` unless `real` is `slot` with its placeholders filled."""
    if isinstance(slot, ast.AST):
        _same_node(slot, real, slots)
    elif isinstance(slot, list):
        if not isinstance(real, list) or len(slot) != len(real):
            raise _Differs("a list of statements or items")
        for one, other in zip(slot, real, strict=True):
            _same(one, other, slots)
    elif isinstance(slot, str):
        if slots.fill(slot) != real:
            raise _Differs(repr(real)[:80])
    elif isinstance(slot, bytes):
        if slots.fill(slot.decode("latin-1")).encode("latin-1", "replace") != real:
            raise _Differs(repr(real)[:80])
    elif type(slot) is not type(real) or repr(slot) != repr(real):
        raise _Differs(repr(real)[:80])


def _same_node(slot: ast.AST, real: Any, slots: _Slots) -> None:
    if isinstance(slot, ast.Name) and (text := slots.whole(slot.id)) is not None:
        if _dump(ast.parse(text, mode="eval").body) != _dump(real):
            raise _Differs(f"line {getattr(real, 'lineno', '?')}")
        return
    slot_name, real_name = _dotted(slot), _dotted(real)
    if slot_name is not None and real_name is not None:
        if slots.fill(slot_name) != real_name:
            raise _Differs(f"line {getattr(real, 'lineno', '?')}")
        return
    if type(slot) is not type(real):
        raise _Differs(f"line {getattr(real, 'lineno', '?')}")
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


def check_data(real: str, placeholder: str, texts: Mapping[str, str], prefix: str, *, kind: str, where: str) -> None:
    """The same for TOML and JSON: equal documents once placeholders are filled.

    Raises:
        UnsafeRender: `real` does not parse or has another shape.
    """
    load = {"toml": tomllib.loads, "json": json.loads}[kind]
    values = {token: _value(text, kind) for token, text in texts.items()}
    try:
        expected, found = _filled(load(placeholder), values, _Slots(texts, prefix)), load(real)
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


def _filled(document: Any, values: Mapping[str, Any], slots: _Slots) -> Any:
    if isinstance(document, dict):
        return {slots.fill(key): _filled(item, values, slots) for key, item in document.items()}
    if isinstance(document, list):
        return [_filled(item, values, slots) for item in document]
    if isinstance(document, str):
        return values[document] if document in values else slots.fill(document)
    return document


def check_text(real: str, placeholder: str, texts: Mapping[str, str], prefix: str, *, where: str) -> None:
    """For formats without a parser here (Markdown, YAML, shell): every line is the template's line, filled.

    Raises:
        UnsafeRender: a value added or ended a line.
    """
    slots = _Slots(texts, prefix)
    if [slots.fill(line) for line in placeholder.splitlines()] != real.splitlines():
        raise UnsafeRender(f"{where}: a value changed the lines of the text", hint="fix the template")
