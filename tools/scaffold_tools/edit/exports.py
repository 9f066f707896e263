"""Add names to `__all__`, in the group where a maintainer would put them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import libcst as cst
import libcst.matchers as m

from scaffold_tools.edit.display import (
    Display,
    Item,
    comment_line,
    explode,
    is_exploded,
    items_of,
    names_of,
    rebuilt,
    too_long,
)
from scaffold_tools.edit.order import Key, best_position, is_sorted, natural
from scaffold_tools.edit.source import checked, parse
from scaffold_tools.errors import BadInput
from scaffold_tools.text import checked_identifier, one_line


def exported_names(source: bytes) -> tuple[str, ...] | None:
    """The names in `__all__`, in their order; None when the module has none.

    Raises:
        BadInput: it is computed in a way that cannot be read (`list + list`, `.extend`).
    """
    displays = _displays(parse(source))
    return None if not displays else tuple(name for one in displays for name in names_of(one) if name)


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
    present = {name for one in displays for name in names_of(one)}
    missing = [name for name in dict.fromkeys(names) if name not in present]
    if not missing:
        return source
    title = one_line(group_comment.lstrip("# ")) if group_comment else None
    target = _target(displays, title, (*after, *before))
    grown = _grown(target, missing, title, _Anchors(tuple(after), tuple(before)))
    edited = _with(tree, target, grown)
    if not is_exploded(grown) and too_long(edited, grown, line_length):
        edited = _with(tree, target, explode(grown, tree))
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


@dataclass(frozen=True)
class _Anchors:
    after: tuple[str, ...]
    before: tuple[str, ...]


def _target(displays: Sequence[Display], title: str | None, anchors: Sequence[str]) -> Display:
    """The statement to add to: the one with the group, or with an anchor, else the last."""
    for display in displays:
        if title and any(item.header and _same_title(item.header, title) for item in items_of(display)):
            return display
    for display in reversed(displays):
        if not title and any(name in anchors for name in names_of(display)):
            return display
    return displays[-1]


def _same_title(one: str, other: str) -> bool:
    return " ".join(one.split()).casefold() == " ".join(other.split()).casefold()


def _grown(display: Display, missing: Sequence[str], title: str | None, anchors: _Anchors) -> Display:
    items = items_of(display)
    for name in missing:
        new = Item(cst.Element(cst.SimpleString(f'"{name}"')), name)
        index, header = _place(items, name, title if is_exploded(display) else None, anchors)
        if header:
            new = replace(new, above=(comment_line(display, header),))
        elif index < len(items) and items[index].above and _opens_same_group(items[index], title):
            new, items[index] = replace(new, above=items[index].above), replace(items[index], above=())
        items.insert(index, new)
        if anchors.after or anchors.before:
            anchors = replace(anchors, after=(*anchors.after, name))
    return rebuilt(display, items)


def _opens_same_group(item: Item, title: str | None) -> bool:
    return title is not None and item.header is not None and _same_title(item.header, title)


def _place(items: Sequence[Item], name: str, title: str | None, anchors: _Anchors) -> tuple[int, str | None]:
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
