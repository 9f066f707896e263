"""Dictionaries and sets of strings at the top of a module: an entry more, at its sorted place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import libcst as cst
import libcst.matchers as m

from scaffold_tools.edit.display import name_of
from scaffold_tools.edit.order import best_position, is_sorted, natural
from scaffold_tools.edit.source import checked, parse
from scaffold_tools.errors import BadInput

_SIMPLE = cst.SimpleWhitespace


def add_to_string_dict(source: bytes, name: str, key: str, value: str, *, line_length: int = 119) -> bytes:
    """Give `key` this value in the dict literal that the module assigns to `name`; an entry that is there is replaced.

    Args:
        source: the module.
        name: of the variable.
        key: printable text.
        value: printable text.
        line_length: a longer entry has its value in parentheses on a line of its own.

    Raises:
        BadInput: there is no such literal, or key or value are not printable.
    """
    tree = parse(source)
    old = _literal(tree, name, cst.Dict)
    assert isinstance(old, cst.Dict)
    fresh = cst.DictElement(_string(key), _value(tree, key, value, line_length))
    same = [one for one in old.elements if isinstance(one, cst.DictElement) and name_of(one.key) == key]
    if same:
        if name_of(same[0].value) == value:
            return source
        return checked(source, _replaced(tree, same[0].value, fresh.value))
    keys = [name_of(one.key) if isinstance(one, cst.DictElement) else None for one in old.elements]
    return checked(source, _replaced(tree, old, _with(tree, old, keys, key, fresh)))


def add_to_string_set(source: bytes, name: str, member: str) -> bytes:
    """Add `member` to the set literal that the module assigns to `name`.

    Raises:
        BadInput: there is no such literal, or the member is not printable.
    """
    tree = parse(source)
    old = _literal(tree, name, cst.Set)
    assert isinstance(old, cst.Set)
    members = [name_of(one.value) if isinstance(one, cst.Element) else None for one in old.elements]
    if member in members:
        return source
    fresh = cst.Element(_string(member))
    return checked(source, _replaced(tree, old, _with(tree, old, members, member, fresh)))


def _literal(tree: cst.Module, name: str, kind: type[cst.Dict | cst.Set]) -> cst.Dict | cst.Set:
    """The one literal that is assigned to `name` at the top level."""
    found = []
    for line in tree.body:
        for node in line.body if isinstance(line, cst.SimpleStatementLine) else ():
            targets = [one.target for one in node.targets] if isinstance(node, cst.Assign) else []
            targets += [node.target] if isinstance(node, cst.AnnAssign) else []
            if any(m.matches(target, m.Name(name)) for target in targets):
                found.append(getattr(node, "value", None))
    if len(found) != 1 or not isinstance(found[0], kind):
        raise BadInput(f"the file has no {kind.__name__.lower()} called {name} that could be added to")
    return found[0]


def _string(text: str) -> cst.SimpleString:
    if not text.isprintable() or set(text) & set('"\\'):
        raise BadInput(f"{text!r} cannot be an entry of a list in code")
    return cst.SimpleString(f'"{text}"')


def _value(tree: cst.Module, key: str, value: str, line_length: int) -> cst.BaseExpression:
    plain = _string(value)
    if len(f'{tree.default_indent}"{key}": "{value}",') <= line_length:
        return plain
    inner = cst.ParenthesizedWhitespace(indent=True, last_line=_SIMPLE(tree.default_indent * 2))
    outer = cst.ParenthesizedWhitespace(indent=True, last_line=_SIMPLE(tree.default_indent))
    return plain.with_changes(lpar=[cst.LeftParen(whitespace_after=inner)], rpar=[cst.RightParen(outer)])


def _place(keys: Sequence[str | None], new: str) -> int:
    """The sorted place, in whichever order the list is kept; the closest to it in a list that is not quite sorted."""
    texts = [key or "" for key in keys]
    for order in (natural, _plain):
        if is_sorted([order(text) for text in texts]):
            return best_position([order(text) for text in texts], order(new))[0]
    return best_position([_plain(text) for text in texts], _plain(new))[0]


def _plain(text: str) -> tuple[Any, ...]:
    return (text,)


def _with(
    tree: cst.Module, literal: cst.Dict | cst.Set, keys: Sequence[str | None], key: str, fresh: Any
) -> cst.Dict | cst.Set:
    """The literal with a new element; comments stay with the elements that they stand beside or above."""
    elements: list[Any] = list(literal.elements)
    opening = literal.lbrace.whitespace_after
    if not elements or not isinstance(opening, cst.ParenthesizedWhitespace):
        raise BadInput("only a list with one entry a line is added to", hint="break it into lines, or add it by hand")
    clean = cst.ParenthesizedWhitespace(indent=True, last_line=opening.last_line)
    closing = literal.rbrace.whitespace_before
    if isinstance(closing, cst.ParenthesizedWhitespace):  # libcst puts what stands before the brace there, or ...
        elements[-1] = elements[-1].with_changes(comma=cst.Comma(whitespace_after=closing))  # ... behind the comma
        literal = literal.with_changes(rbrace=literal.rbrace.with_changes(whitespace_before=_SIMPLE("")))
    index = _place(keys, key)
    gap: cst.BaseParenthesizableWhitespace = clean
    if index > 0:
        before = elements[index - 1]
        gap = before.comma.whitespace_after
        if isinstance(gap, cst.ParenthesizedWhitespace):
            kept = clean.with_changes(first_line=gap.first_line)
            elements[index - 1] = before.with_changes(comma=before.comma.with_changes(whitespace_after=kept))
            gap = gap.with_changes(first_line=cst.TrailingWhitespace())
    elements.insert(index, fresh.with_changes(comma=cst.Comma(whitespace_after=gap)))
    return literal.with_changes(elements=elements)


def _replaced(tree: cst.Module, old: cst.CSTNode, new: cst.CSTNode) -> cst.Module:
    replaced = tree.deep_replace(old, new)
    assert isinstance(replaced, cst.Module)
    return replaced
