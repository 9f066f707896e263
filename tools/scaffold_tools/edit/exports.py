"""Add names to `__all__`, in the group where a maintainer would put them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import libcst as cst
import libcst.matchers as m

from scaffold_tools.edit.order import Key, best_position, is_sorted, natural
from scaffold_tools.edit.source import checked, parse
from scaffold_tools.errors import BadInput
from scaffold_tools.render.literals import checked_identifier, one_line

Display = cst.List | cst.Tuple


@dataclass(frozen=True)
class _Item:
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


def exported_names(source: bytes) -> tuple[str, ...] | None:
    """The names in `__all__`, in their order; None when the module has none.

    Raises:
        BadInput: it is computed in a way that cannot be read (`list + list`, `.extend`).
    """
    displays = _displays(parse(source))
    return None if not displays else tuple(name for one in displays for name in _names(one) if name)


def add_to_dunder_all(
    source: bytes,
    names: Sequence[str],
    *,
    group_comment: str | None = None,
    after: Sequence[str] = (),
    before: Sequence[str] = (),
    if_missing: Literal["refuse", "skip"] = "refuse",
    line_length: int = 119,
) -> bytes:
    """Add those of `names` that `__all__` lacks.

    The place: the group under `group_comment`, made where its title sorts among the titles if there is none yet; else
    behind the last of `after`; else in front of the first of `before`; else the sorted place of a sorted list; else
    the end.

    Args:
        source: the module.
        names: identifiers.
        group_comment: title of the group, without the hash.
        after: names behind which the new ones belong, without a group.
        before: names in front of which they belong, when none of `after` is exported.
        if_missing: what to do when the module has no `__all__`.
        line_length: a list on one line is broken when it grows beyond this.

    Raises:
        BadInput: `__all__` is missing, or is built in a way that an edit could only guess at.
    """
    for name in names:
        checked_identifier(name)
    tree = parse(source)
    displays = _displays(tree)
    if not displays:
        if if_missing == "skip":
            return source
        raise BadInput("the file has no __all__ at its top level", hint="add one, or export the names by hand")
    present = {name for one in displays for name in _names(one)}
    missing = [name for name in dict.fromkeys(names) if name not in present]
    if not missing:
        return source
    title = one_line(group_comment.lstrip("# ")) if group_comment else None
    target = _target(displays, title, (*after, *before))
    grown = _grown(target, missing, title, _Anchors(tuple(after), tuple(before)))
    edited = _with(tree, target, grown)
    if not _exploded(grown) and _too_long(edited, grown, line_length):
        edited = _with(tree, target, _explode(grown, tree))
    return checked(source, edited)


def _with(tree: cst.Module, old: Display, new: Display) -> cst.Module:
    replaced = tree.deep_replace(old, new)
    assert isinstance(replaced, cst.Module)
    return replaced


def _displays(tree: cst.Module) -> list[Display]:
    """The lists and tuples that `__all__` is made of, in order; refuses every other way to build it."""
    found: list[Display] = []
    uses = len(m.findall(tree, m.Name("__all__")))
    for line in tree.body:
        for node in line.body if isinstance(line, cst.SimpleStatementLine) else ():
            value = _assigned(node)
            if value is None:
                continue
            uses -= 1
            if not isinstance(value, (cst.List, cst.Tuple)):
                raise BadInput(
                    f"__all__ is built by an expression ({tree.code_for_node(value)[:60]!r}), not by a list"
                )
            found.append(value)
    if uses > 0:
        raise BadInput("__all__ is changed by a call or in a nested block, so an edit could only guess its content")
    return found


def _assigned(node: cst.CSTNode) -> cst.BaseExpression | None:
    if isinstance(node, cst.Assign) and len(node.targets) == 1:
        target: cst.CSTNode = node.targets[0].target
    elif isinstance(node, cst.AnnAssign) or (
        isinstance(node, cst.AugAssign) and m.matches(node.operator, m.AddAssign())
    ):
        target = node.target
    else:
        return None
    return node.value if m.matches(target, m.Name("__all__")) else None


def _names(display: Display) -> list[str | None]:
    return [_name(element.value) if isinstance(element, cst.Element) else None for element in display.elements]


def _name(value: cst.BaseExpression) -> str | None:
    text = value.evaluated_value if isinstance(value, (cst.SimpleString, cst.ConcatenatedString)) else None
    return text if isinstance(text, str) else None


@dataclass(frozen=True)
class _Anchors:
    after: tuple[str, ...]
    before: tuple[str, ...]


def _target(displays: Sequence[Display], title: str | None, anchors: Sequence[str]) -> Display:
    """The statement to add to: the one with the group, or with an anchor, else the last."""
    for display in displays:
        if title and any(item.header and _same_title(item.header, title) for item in _items(display)):
            return display
    for display in reversed(displays):
        if not title and any(name in anchors for name in _names(display)):
            return display
    return displays[-1]


def _same_title(one: str, other: str) -> bool:
    return " ".join(one.split()).casefold() == " ".join(other.split()).casefold()


def _grown(display: Display, missing: Sequence[str], title: str | None, anchors: _Anchors) -> Display:
    items = _items(display)
    for name in missing:
        new = _Item(cst.Element(cst.SimpleString(f'"{name}"')), name)
        index, header = _place(items, name, title if _exploded(display) else None, anchors)
        if header:
            new = replace(new, above=(_comment_line(display, header),))
        elif index < len(items) and items[index].above and _opens_same_group(items[index], title):
            new, items[index] = replace(new, above=items[index].above), replace(items[index], above=())
        items.insert(index, new)
        if anchors.after or anchors.before:
            anchors = replace(anchors, after=(*anchors.after, name))
    return _rebuilt(display, items)


def _comment_line(display: Display, text: str) -> cst.EmptyLine:
    opening = _brackets(display)[0]
    assert isinstance(opening, cst.ParenthesizedWhitespace)
    return cst.EmptyLine(indent=opening.indent, whitespace=opening.last_line, comment=cst.Comment(f"# {text}"))


def _opens_same_group(item: _Item, title: str | None) -> bool:
    return title is not None and item.header is not None and _same_title(item.header, title)


def _place(items: Sequence[_Item], name: str, title: str | None, anchors: _Anchors) -> tuple[int, str | None]:
    """Index of a new name, and the title to write above it when its group is new."""
    if title:
        starts = [index for index, item in enumerate(items) if item.header and _same_title(item.header, title)]
        if starts:
            end = next((i for i in range(starts[0] + 1, len(items)) if items[i].header), len(items))
            return starts[0] + _within([item.name or "" for item in items[starts[0] : end]], name), None
        headed = [index for index, item in enumerate(items) if item.header]
        if not headed:
            return len(items), title if items else None
        # Only in front of another title: elsewhere the new title would claim the untitled names below it.
        later = [index for index in headed if natural(items[index].header or "") > natural(title)]
        return (later[0] if later else len(items)), title
    behind = [index for index, item in enumerate(items) if item.name in anchors.after]
    in_front = [index for index, item in enumerate(items) if item.name in anchors.before]
    if behind or in_front:
        return (behind[-1] + 1 if behind else in_front[0]), None
    return _within([item.name or "" for item in items], name), None


def _within(names: Sequence[str], name: str) -> int:
    """The sorted place among sorted names; behind the names that begin alike; the end."""
    for key in (natural, _plain):
        keys = [key(one) for one in names]
        if is_sorted(keys):
            return best_position(keys, key(name))[0]
    return len(names)


def _plain(text: str) -> Key:
    return (text,)


def _items(display: Display) -> list[_Item]:
    """Elements with their comments; libcst keeps those in the whitespace behind the *previous* comma."""
    items: list[_Item] = []
    gaps = _gaps(display)
    for index, element in enumerate(display.elements):
        before, behind = gaps[index], gaps[index + 1]
        name = _name(element.value) if isinstance(element, cst.Element) else None
        above = tuple(before.empty_lines) if isinstance(before, cst.ParenthesizedWhitespace) else ()
        first = behind.first_line if isinstance(behind, cst.ParenthesizedWhitespace) else None
        items.append(_Item(element, name, above, first))
    return items


Gap = cst.BaseParenthesizableWhitespace


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


def _exploded(display: Display) -> bool:
    return _multiline(_brackets(display)[0])


def _rebuilt(display: Display, items: Sequence[_Item]) -> Display:
    return _rebuilt_lines(display, items) if _exploded(display) else _rebuilt_flat(display, items)


def _rebuilt_flat(display: Display, items: Sequence[_Item]) -> Display:
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


def _rebuilt_lines(display: Display, items: Sequence[_Item]) -> Display:
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


def _too_long(tree: cst.Module, display: Display, line_length: int) -> bool:
    text = tree.code_for_node(display)
    return any(text in line and len(line) > line_length for line in tree.code.splitlines())


def _explode(display: Display, tree: cst.Module) -> Display:
    inner = cst.ParenthesizedWhitespace(indent=True, last_line=cst.SimpleWhitespace(tree.default_indent))
    end = cst.ParenthesizedWhitespace(indent=True)
    elements = [element.with_changes(comma=cst.Comma(whitespace_after=inner)) for element in display.elements[:-1]]
    elements.append(display.elements[-1].with_changes(comma=cst.Comma(whitespace_after=end)))
    if isinstance(display, cst.List):
        return display.with_changes(elements=elements, lbracket=cst.LeftSquareBracket(whitespace_after=inner))
    return display.with_changes(
        elements=elements, lpar=[cst.LeftParen(whitespace_after=inner)], rpar=[cst.RightParen()]
    )  # fmt: skip
