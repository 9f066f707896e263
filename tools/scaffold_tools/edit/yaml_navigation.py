"""The navigation of a documentation site in YAML: a page more, at the place that its neighbours have.

The text is edited line by line, so that comments, quotes and indentation stay; where to edit is told by the parsed
document, and the edit is taken only if it parses to just what was meant.
"""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass
from typing import Any

from scaffold_tools.edit.order import natural, place
from scaffold_tools.errors import BadInput


@dataclass(frozen=True)
class Page:
    """A page, and where it belongs."""

    title: str
    path: str
    """As the navigation writes it."""
    group: str
    """Title of its group, should that be new."""
    beside: str
    """What the paths of all groups begin with (`./nightly/pages/models/`)."""

    @property
    def folder(self) -> str:
        """Where the pages of its group lie."""
        return self.path.rsplit("/", 1)[0] + "/"


def add_page(source: bytes, page: Page) -> bytes:
    """Add a page to the group whose pages lie in the same folder, or a group with it beside the others.

    A group is an item with `contents` and `section`, a page one with `page` and `path`; the list of groups lies at any
    depth of the file.

    Raises:
        BadInput: not YAML, no such groups, or one that is written in another form.
    """
    import yaml

    text = _text(source)
    try:
        tree, data = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadInput(f"the navigation is no YAML: {str(error).splitlines()[0]}") from error
    home = _home(tree, page.beside)
    if home is None:
        raise BadInput(f"the navigation has no groups of pages below {page.beside}")
    if any(_value(one, "path") == page.path for item in home.value for one in _pages(item)):
        return source
    own = [
        item for item in home.value if any((_value(one, "path") or "").startswith(page.folder) for one in _pages(item))
    ]
    lines = text.splitlines(keepends=True)
    at, new = _after_last_page(own[0], lines, page) if own else _new_group(home, lines, page)
    end = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    after = "".join([*lines[:at], *(line + end for line in new), *lines[at:]])
    if yaml.safe_load(after) != _expected(data, page, _index(home, page.group)):
        raise BadInput("the navigation is written in a form that an edit could only guess at")
    return after.encode("utf-8")


def _text(source: bytes) -> str:
    try:
        text = source.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"the navigation is not UTF-8: byte {error.start}") from error
    return text if text.endswith("\n") else text + "\n"


def _home(node: Any, beside: str) -> Any:
    """The list that holds the groups: the deepest one with two of them below `beside`."""
    import yaml

    children = [pair[1] for pair in node.value] if isinstance(node, yaml.MappingNode) else []
    children += node.value if isinstance(node, yaml.SequenceNode) else []
    for child in children:
        found = _home(child, beside)
        if found is not None:
            return found
    if not isinstance(node, yaml.SequenceNode) or node.flow_style:
        return None
    groups = [
        item for item in node.value if any((_value(page, "path") or "").startswith(beside) for page in _pages(item))
    ]
    return node if len(groups) > 1 else None


def _pages(item: Any) -> list[Any]:
    contents = _node(item, "contents")
    return list(contents.value) if contents is not None and isinstance(contents.value, list) else []


def _node(item: Any, key: str) -> Any:
    import yaml

    pairs = item.value if isinstance(item, yaml.MappingNode) else []
    return next((value for name, value in pairs if name.value == key), None)


def _value(item: Any, key: str) -> str | None:
    node = _node(item, key)
    return node.value if node is not None and isinstance(node.value, str) else None


def _innerlines(indent: str, page: Page) -> list[str]:
    return [f"{indent}- page: {_scalar(page.title)}", f"{indent}  path: {_scalar(page.path)}"]


def _scalar(text: str) -> str:
    if not text.isprintable():
        raise BadInput(f"{text!r} cannot stand in a navigation")
    plain = re.fullmatch(r"[A-Za-z./][\w./-]*( [\w./-]+)*", text) and text.lower() not in (
        "true",
        "false",
        "null",
        "yes",
        "no",
        "on",
        "off",
    )
    return text if plain else json.dumps(text, ensure_ascii=False)


def _after_last_page(group: Any, lines: list[str], page: Page) -> tuple[int, list[str]]:
    """Where the last page of a group ends, and the new one as the others are indented."""
    last = _pages(group)[-1]
    start = last.start_mark
    indent = lines[start.line][: lines[start.line].index("-")]
    at = max(value.end_mark.line for _, value in last.value) + 1
    return at, _innerlines(indent, page)


def _new_group(home: Any, lines: list[str], page: Page) -> tuple[int, list[str]]:
    """A group in the form of its neighbours: `section` before or behind its contents."""
    groups = [item for item in home.value if _pages(item)]
    like = groups[-1]
    outer = lines[like.start_mark.line][: like.start_mark.column - 2]
    inner = lines[_pages(like)[0].start_mark.line]
    pages = _innerlines(inner[: inner.index("-")], page)
    first = like.value[0][0].value
    section, contents = f"section: {_scalar(page.group)}", "contents:"
    head, tail = (section, contents) if first == "section" else (contents, section)
    body = (
        [f"{outer}- {head}", f"{outer}  {tail}", *pages]
        if first == "section"
        else [f"{outer}- {head}", *pages, f"{outer}  {tail}"]
    )
    index = _index(home, page.group)
    if index < len(home.value):
        return home.value[index].start_mark.line, body
    return max(value.end_mark.line for _, value in _pages(like)[-1].value) + 1 + (first != "section"), body


def _index(home: Any, group: str) -> int:
    """The sorted place among the groups; items that are no groups, which lead the list, stay in front."""
    lead = next((index for index, item in enumerate(home.value) if _pages(item)), len(home.value))
    names = [natural(_value(item, "section") or "") for item in home.value[lead:]]
    return lead + place(names, natural(group))


def _expected(data: Any, page: Page, at_group: int) -> Any:
    """The parsed document with the page in it."""
    wanted = copy.deepcopy(data)
    home = _data_home(wanted, page.beside)
    item = {"page": page.title, "path": page.path}
    own = [
        one for one in home if any(str(inner.get("path", "")).startswith(page.folder) for inner in _data_pages(one))
    ]
    if own:
        own[0]["contents"].append(item)
    else:
        home.insert(at_group, {"contents": [item], "section": page.group})
    return wanted


def _data_pages(item: Any) -> list[Any]:
    contents = item.get("contents") if isinstance(item, dict) else None
    return [one for one in contents if isinstance(one, dict)] if isinstance(contents, list) else []


def _data_home(data: Any, beside: str) -> Any:
    children = list(data.values()) if isinstance(data, dict) else data if isinstance(data, list) else []
    for child in children:
        found = _data_home(child, beside)
        if found is not None:
            return found
    if not isinstance(data, list):
        return None
    groups = [item for item in data if any(str(one.get("path", "")).startswith(beside) for one in _data_pages(item))]
    return data if len(groups) > 1 else None
