"""A list or tuple of strings in source, as items that carry their own comments, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import libcst as cst

Display = cst.List | cst.Tuple
Gap = cst.BaseParenthesizableWhitespace


@dataclass(frozen=True)
class Item:
    """One element with its own lines: the comment lines above it and the comment behind it."""

    value: cst.BaseElement
    name: str | None
    above: tuple[cst.EmptyLine, ...] = ()
    behind: cst.TrailingWhitespace | None = None

    @property
    def header(self) -> str | None:
        """The text of the comment line above, which opens a group."""
        comments = [line.comment.value for line in self.above if line.comment]
        return comments[-1].lstrip("#").strip() if comments else None


def items_of(display: Display) -> list[Item]:
    """Elements with their comments; libcst keeps those in the whitespace behind the *previous* comma."""
    items: list[Item] = []
    gaps = _gaps(display)
    for index, element in enumerate(display.elements):
        before, behind = gaps[index], gaps[index + 1]
        name = name_of(element.value) if isinstance(element, cst.Element) else None
        above = tuple(before.empty_lines) if isinstance(before, cst.ParenthesizedWhitespace) else ()
        first = behind.first_line if isinstance(behind, cst.ParenthesizedWhitespace) else None
        items.append(Item(element, name, above, first))
    return items


def rebuilt(display: Display, items: Sequence[Item]) -> Display:
    """The display with these items, in the layout that it has."""
    return _rebuilt_lines(display, items) if is_exploded(display) else _rebuilt_flat(display, items)


def name_of(value: cst.BaseExpression) -> str | None:
    """The string that an element is, None for anything else."""
    text = value.evaluated_value if isinstance(value, (cst.SimpleString, cst.ConcatenatedString)) else None
    return text if isinstance(text, str) else None


def names_of(display: Display) -> list[str | None]:
    """The string of each element."""
    return [name_of(element.value) if isinstance(element, cst.Element) else None for element in display.elements]


def comment_line(display: Display, text: str) -> cst.EmptyLine:
    """A comment on a line of its own, indented as the elements are."""
    opening = _brackets(display)[0]
    assert isinstance(opening, cst.ParenthesizedWhitespace)
    return cst.EmptyLine(indent=opening.indent, whitespace=opening.last_line, comment=cst.Comment(f"# {text}"))


def _gaps(display: Display) -> list[Gap]:
    """Whitespace around the elements: behind the opening bracket, behind each comma."""
    opening, closing = _brackets(display)
    gaps = [opening]
    for index, element in enumerate(display.elements):
        if isinstance(element.comma, cst.Comma):
            gaps.append(element.comma.whitespace_after)
        else:
            gaps.append(closing if index == len(display.elements) - 1 else cst.SimpleWhitespace(" "))
    # With a final comma libcst puts what stands before the closing bracket there, or behind the comma.
    last = gaps[-1]
    if len(gaps) > 1 and not isinstance(last, cst.ParenthesizedWhitespace) and _multiline(closing):
        gaps[-1] = closing
    return gaps


def _multiline(gap: Gap) -> bool:
    return isinstance(gap, cst.ParenthesizedWhitespace)


def _brackets(display: Display) -> tuple[Gap, Gap]:
    none = cst.SimpleWhitespace("")
    if isinstance(display, cst.List):
        return display.lbracket.whitespace_after, display.rbracket.whitespace_before
    if display.lpar:
        return display.lpar[0].whitespace_after, display.rpar[0].whitespace_before
    return none, none


def is_exploded(display: Display) -> bool:
    """Whether the elements stand on lines of their own."""
    return _multiline(_brackets(display)[0])


def _rebuilt_flat(display: Display, items: Sequence[Item]) -> Display:
    """All on one line; whether a comma ends it stays as it was."""
    old = list(display.elements)
    ended = (
        bool(old) and isinstance(old[-1].comma, cst.Comma) and not (isinstance(display, cst.Tuple) and len(old) == 1)
    )
    if isinstance(display, cst.Tuple) and len(items) == 1:
        ended = True
    comma = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    elements = [
        item.value.with_changes(comma=item.value.comma if _spaced(item.value.comma) else comma) for item in items[:-1]
    ]
    final = cst.Comma() if ended else cst.MaybeSentinel.DEFAULT
    return display.with_changes(elements=[*elements, items[-1].value.with_changes(comma=final)])


def _spaced(comma: object) -> bool:
    return isinstance(comma, cst.Comma) and not comma.whitespace_after.empty


def _rebuilt_lines(display: Display, items: Sequence[Item]) -> Display:
    """One element a line, each with a comma; comments go where their element goes."""
    opening, gaps = _brackets(display)[0], _gaps(display)
    assert isinstance(opening, cst.ParenthesizedWhitespace)
    last = gaps[-1] if len(gaps) > 1 and isinstance(gaps[-1], cst.ParenthesizedWhitespace) else opening
    elements = []
    for index, item in enumerate(items):
        final = index == len(items) - 1
        shape = last if final else opening
        gap = shape.with_changes(
            first_line=item.behind or cst.TrailingWhitespace(),
            empty_lines=last.empty_lines if final and last is not opening else () if final else items[index + 1].above,
            last_line=last.last_line if final and last is not opening else opening.last_line,
        )
        if final and last is opening:
            gap = gap.with_changes(last_line=cst.SimpleWhitespace(""))
        elements.append(item.value.with_changes(comma=cst.Comma(whitespace_after=gap)))
    first = opening.with_changes(empty_lines=items[0].above)
    bare = cst.SimpleWhitespace("")
    if isinstance(display, cst.List):
        return display.with_changes(
            elements=elements,
            lbracket=display.lbracket.with_changes(whitespace_after=first),
            rbracket=display.rbracket.with_changes(whitespace_before=bare),
        )
    return display.with_changes(
        elements=elements,
        lpar=[display.lpar[0].with_changes(whitespace_after=first), *display.lpar[1:]],
        rpar=[display.rpar[0].with_changes(whitespace_before=bare), *display.rpar[1:]],
    )


def too_long(tree: cst.Module, display: Display, line_length: int) -> bool:
    """Whether a display on one line makes that line longer than `line_length`."""
    text = tree.code_for_node(display)
    return any(text in line and len(line) > line_length for line in tree.code.splitlines())


def explode(display: Display, tree: cst.Module) -> Display:
    """A display on one line, broken into one element a line."""
    inner = cst.ParenthesizedWhitespace(indent=True, last_line=cst.SimpleWhitespace(tree.default_indent))
    end = cst.ParenthesizedWhitespace(indent=True)
    elements = [element.with_changes(comma=cst.Comma(whitespace_after=inner)) for element in display.elements[:-1]]
    elements.append(display.elements[-1].with_changes(comma=cst.Comma(whitespace_after=end)))
    if isinstance(display, cst.List):
        return display.with_changes(elements=elements, lbracket=cst.LeftSquareBracket(whitespace_after=inner))
    return display.with_changes(
        elements=elements, lpar=[cst.LeftParen(whitespace_after=inner)], rpar=[cst.RightParen()]
    )  # fmt: skip
