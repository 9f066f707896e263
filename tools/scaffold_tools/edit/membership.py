"""Add a string to the literal list that a value is looked up in: `model_type in ("qwen2_vl", "qwen3_vl")`."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst
import libcst.matchers as m

from scaffold_tools.edit.source import checked, parse
from scaffold_tools.errors import BadInput

_Listed = cst.List | cst.Tuple | cst.Set


def members_in(source: bytes, function: str, subject: str) -> tuple[tuple[str, ...], ...]:
    """The lists of strings that are looked up with `in` inside a function, in the order in which they stand there.

    Args:
        source: a Python file.
        function: name of the function, wherever it is defined.
        subject: what the left side of `in` mentions (`model_type`).
    """
    return tuple(_words(node) for node in _lists(parse(source), function, subject))


def add_member(
    source: bytes, member: str, *, subject: str, function: str | None = None, beside: Sequence[str] | None = None
) -> bytes:
    """Add `member` to lists that something is looked up in; the same bytes where it stands in all of them.

    Args:
        source: a Python file.
        member: the string.
        subject: what the left side of `in` mentions.
        function: only lists inside a function of this name; None: all of the file.
        beside: only lists that hold exactly these strings; None: all.

    Raises:
        BadInput: there is no such list.
    """
    tree = parse(source)
    found = [one for one in _lists(tree, function, subject) if beside is None or _fits(_words(one), beside, member)]
    if not found:
        where = function or "the file"
        raise BadInput(f"{where} has no list of strings that {subject} is looked up in", hint="edit it by hand")
    wanted = [node for node in found if member not in _words(node)]
    return checked(source, tree.visit(_Growing(wanted, member)))


class _Growing(cst.CSTTransformer):
    """Replaces several nodes in one pass: after a replacement all other nodes are new objects."""

    def __init__(self, wanted: Sequence[_Listed], member: str) -> None:
        super().__init__()
        self._wanted = wanted
        self._member = member

    def on_leave(
        self, original_node: cst.CSTNodeT, updated_node: cst.CSTNodeT
    ) -> cst.CSTNodeT | cst.RemovalSentinel | cst.FlattenSentinel[cst.CSTNodeT]:
        if isinstance(updated_node, _Listed) and any(original_node is node for node in self._wanted):
            return updated_node.with_changes(elements=_grown(updated_node, self._member))  # type: ignore[return-value]
        return updated_node


def _fits(words: Sequence[str], beside: Sequence[str], member: str) -> bool:
    """The list that is meant, before or after the edit."""
    return [word for word in words if word != member] == [word for word in beside if word != member]


def _lists(tree: cst.Module, function: str | None, subject: str) -> list[_Listed]:
    found = []
    for node in [tree] if function is None else m.findall(tree, m.FunctionDef(name=m.Name(function))):
        for comparison in m.findall(node, m.Comparison(comparisons=[m.ComparisonTarget(operator=m.In())])):
            assert isinstance(comparison, cst.Comparison)
            listed = comparison.comparisons[0].comparator
            if isinstance(listed, _Listed) and _words(listed) and subject in tree.code_for_node(comparison.left):
                found.append(listed)
    return found


def _words(node: _Listed) -> tuple[str, ...]:
    values = [one.value for one in node.elements]
    return tuple(str(one.evaluated_value) for one in values if isinstance(one, cst.SimpleString))


def _grown(node: _Listed, member: str) -> list[cst.BaseElement]:
    """The elements with one more, spaced and quoted as the last one is."""
    last = node.elements[-1]
    before = node.elements[-2].comma if len(node.elements) > 1 else None
    between = before if isinstance(before, cst.Comma) else cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    quote = last.value.quote if isinstance(last.value, cst.SimpleString) else '"'
    lonely = len(node.elements) == 1 and isinstance(node, cst.Tuple)  # `("a",)`: the comma goes, two need none
    new = cst.Element(cst.SimpleString(f"{quote}{member}{quote}"))
    if isinstance(last.comma, cst.Comma) and not lonely:
        new = new.with_changes(comma=last.comma)
    return [*node.elements[:-1], last.with_changes(comma=between), new]
