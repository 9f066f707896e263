"""Tables and MyST toctrees of Markdown files, found by their structure and never by a string to search for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from scaffold_tools.edit.order import natural, place
from scaffold_tools.errors import BadInput


def add_table_row(source: bytes, header: Sequence[str], row: Sequence[str], *, append_to: int | None = None) -> bytes:
    """Add a row to the table with these column titles, at the sorted place of its first cell.

    Args:
        source: the Markdown file.
        header: the titles, as they read (without markup).
        row: the cells, as Markdown on one line each.
        append_to: when a row with that first cell exists: the column whose cell takes the new cell behind a comma.

    Raises:
        BadInput: no such table or several, a cell with a newline or bare pipe, or another row with that first cell.
    """
    _check_cells(row, len(header))
    lines = _lines(source)
    table = _table(lines, [_plain(title) for title in header])
    cells = [_cells(lines[index]) for index in table.rows]
    keys = [_plain(row_cells[0]) if row_cells else "" for row_cells in cells]
    if _plain(row[0]) in keys:
        at = keys.index(_plain(row[0]))
        return _joined(_with_cell(lines, table.rows[at], cells[at], row, append_to))
    index = place([natural(key) for key in keys], natural(_plain(row[0])))
    line = table.rows[index] if index < len(table.rows) else table.end
    text = " | ".join(cell.strip() for cell in row)
    text = f"{table.indent}| {text} |" if table.piped else f"{table.indent}{text}"
    return _joined(_inserted(lines, line, text))


def linked_row(source: bytes, header: Sequence[str], target: str) -> str | None:
    """The first cell, as it is written, of the row about a folder: None when there is none.

    The row that links to something below `target`, else the one that is called like its last part.

    Raises:
        BadInput: no such table or several.
    """
    lines = _lines(source)
    rows = [lines[index] for index in _table(lines, [_plain(title) for title in header]).rows]
    linked = [row for row in rows if re.search(rf"\]\({re.escape(target)}", row)]
    name = _letters(target.rstrip("/").rsplit("/", 1)[-1])
    called = [row for row in rows if _letters(_plain(_cells(row)[0])) == name]
    return _cells([*linked, *called][0])[0] if linked or called else None


def _letters(text: str) -> str:
    return "".join(char for char in text.casefold() if char.isalnum())


def add_toctree_entry(source: bytes, entry: str, *, caption: str | None = None, beside: str | None = None) -> bytes:
    """Add a document to a toctree, at its sorted place when the entries are sorted, else at the end.

    Args:
        source: the MyST Markdown file.
        entry: path as the toctree writes it (`models/qwen/index.md`).
        caption: which toctree, when the file has several.
        beside: the same, by a prefix that the most of its documents have.

    Raises:
        BadInput: no such toctree, several that could be meant, or an entry that is not one plain line.
    """
    if not entry or not entry.isprintable() or entry != entry.strip() or set(entry) & set("<>`") or entry[0] in ":-":
        raise BadInput(f"{entry!r} cannot be a toctree entry")
    lines = _lines(source)
    trees = [tree for tree in _toctrees(lines) if caption is None or tree.caption == caption]
    if beside is not None:
        alike = [sum(_document(lines[index]).startswith(beside) for index in tree.entries) for tree in trees]
        trees = [tree for tree, count in zip(trees, alike, strict=True) if count and count == max(alike)]
    if len(trees) != 1:
        which = f" with the caption {caption!r}" if caption else ""
        raise BadInput(f"the file has {'no toctree' if not trees else f'{len(trees)} toctrees'}{which}")
    tree = trees[0]
    documents = [_document(lines[index]) for index in tree.entries]
    if _document(entry) in documents:
        return source
    index = place([natural(name) for name in documents], natural(_document(entry)))
    line = tree.entries[index] if index < len(tree.entries) else tree.end
    return _joined(_inserted(lines, line, tree.indent + entry))


@dataclass(frozen=True)
class _Table:
    rows: tuple[int, ...]
    end: int
    piped: bool
    indent: str


@dataclass(frozen=True)
class _Toctree:
    caption: str | None
    entries: tuple[int, ...]
    end: int
    indent: str


def _lines(source: bytes) -> list[str]:
    try:
        text = source.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"the Markdown file is not UTF-8: byte {error.start}") from error
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _joined(lines: Sequence[str]) -> bytes:
    return "".join(lines).encode("utf-8")


def _inserted(lines: Sequence[str], index: int, text: str) -> list[str]:
    """A new line with the line ends of its surroundings; a file without a final newline stays without."""
    neighbour = lines[index - 1] if index else lines[0]
    end = "\r\n" if neighbour.endswith("\r\n") or (index > 1 and lines[index - 2].endswith("\r\n")) else "\n"
    if index == len(lines) and not neighbour.endswith("\n"):
        return [*lines[:-1], neighbour + end, text]
    return [*lines[:index], text + end, *lines[index:]]


def _fenced(lines: Sequence[str]) -> list[bool]:
    """Which lines are inside a code fence (its own lines included)."""
    inside: list[bool] = []
    fence = ""
    for line in lines:
        found = re.match(r"\s{0,3}(`{3,}|~{3,}|:{3,})(.*)", line)
        if fence:
            inside.append(True)
            if found and found.group(1).startswith(fence) and not found.group(2).strip():
                fence = ""
        else:
            inside.append(found is not None)
            fence = found.group(1) if found else ""
    return inside


def _table(lines: Sequence[str], header: Sequence[str]) -> _Table:
    fenced = _fenced(lines)
    found = []
    for index in range(len(lines) - 1):
        if fenced[index] or not re.fullmatch(r"\s*\|?(\s*:?-+:?\s*\|)*\s*:?-+:?\s*\|?\s*", lines[index + 1]):
            continue
        titles = [_plain(cell) for cell in _cells(lines[index])]
        if titles == list(header):
            end = index + 2
            while end < len(lines) and "|" in lines[end] and not fenced[end]:
                end += 1
            first = lines[index].lstrip("\ufeff")
            piped = first.lstrip().startswith("|")
            indent = first[: len(first) - len(first.lstrip(" "))]
            found.append(_Table(tuple(range(index + 2, end)), end, piped, indent))
    if len(found) != 1:
        raise BadInput(f"the file has {len(found) or 'no'} tables with the columns {', '.join(header)}")
    return found[0]


def _cells(line: str) -> list[str]:
    """Cells of a row; a pipe behind a backslash belongs to its cell."""
    text = line.lstrip("\ufeff").strip().removeprefix("|")
    if text.endswith("|") and not text.endswith("\\|"):
        text = text[:-1]
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", text)]


def _plain(cell: str) -> str:
    """A cell as it reads: link texts without targets, no emphasis."""
    return re.sub(r"[*`]|(?<!\w)_|_(?!\w)", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", cell)).strip()


def _check_cells(row: Sequence[str], columns: int) -> None:
    if len(row) != columns or not row:
        raise BadInput(f"a row of {len(row)} cells does not fit a table of {columns} columns")
    for cell in row:
        if not cell.isprintable() or re.search(r"(?<!\\)\||\\$", cell):
            raise BadInput(f"{cell!r} cannot be a table cell")


def _with_cell(
    lines: list[str], at: int, cells: Sequence[str], row: Sequence[str], append_to: int | None
) -> list[str]:
    if append_to is None:
        if list(cells) == [cell.strip() for cell in row]:
            return lines
        raise BadInput(f"the table has a row {_plain(row[0])!r} already, with other cells")
    present = [part.strip() for part in re.split(r",\s+(?![^()\[\]]*[)\]])", cells[append_to])]
    if row[append_to].strip() in present:
        return lines
    grown = [*cells]
    grown[append_to] = f"{cells[append_to]}, {row[append_to].strip()}" if cells[append_to] else row[append_to].strip()
    old = lines[at]
    indent, end = old[: len(old) - len(old.lstrip(" "))], old[len(old.rstrip("\r\n")) :]
    piped = old.lstrip().startswith("|")
    text = " | ".join(grown)
    return [*lines[:at], f"{indent}| {text} |{end}" if piped else f"{indent}{text}{end}", *lines[at + 1 :]]


def _toctrees(lines: Sequence[str]) -> list[_Toctree]:
    found = []
    index = 0
    while index < len(lines):
        opening = re.match(r"(\s*)(`{3,}|~{3,}|:{3,})\s*(\{toctree\})?", lines[index])
        index += 1
        if opening is None:
            continue
        start = index
        while index < len(lines) and not _closes(lines[index], opening.group(2)):
            index += 1
        if opening.group(3):
            found.append(_toctree(lines, start, index, opening.group(1)))
        index += 1
    return found


def _closes(line: str, fence: str) -> bool:
    text = line.strip()
    return len(text) >= len(fence) and not text.strip(fence[0])


def _toctree(lines: Sequence[str], start: int, end: int, indent: str) -> _Toctree:
    """Options come first, `:name: value` a line or between two `---`; then entries and blank lines."""
    caption, at, block = None, start, False
    while at < end:
        text = lines[at].strip()
        option = re.match(r":([\w-]+):\s*(.*)" if not block else r"([\w-]+):\s*(.*)", text)
        if text == "---":
            block = not block
        elif option and option.group(1) == "caption":
            caption = option.group(2).strip("'\"")
        elif not option and not block and text:
            break
        at += 1
    entries = tuple(index for index in range(at, end) if lines[index].strip())
    return _Toctree(caption, entries, entries[-1] + 1 if entries else end, indent)


def _document(entry: str) -> str:
    """The path of an entry, with or without a title and a suffix."""
    text = entry.strip()
    titled = re.fullmatch(r".*<([^>]*)>", text)
    return (titled.group(1) if titled else text).strip().removesuffix(".md")
