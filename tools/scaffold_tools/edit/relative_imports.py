"""Add `from .module import names` to a package that imports its own modules so."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from scaffold_tools.edit.order import best_position, member, natural
from scaffold_tools.edit.source import checked, dotted, parse
from scaffold_tools.text import checked_dotted, checked_identifier


def imports_relatively(source: bytes) -> bool:
    """Whether most `from` imports of a module begin with a single dot."""
    froms = [
        node
        for line in parse(source).body
        for node in (line.body if isinstance(line, cst.SimpleStatementLine) else ())
        if isinstance(node, cst.ImportFrom)
    ]
    return sum(len(node.relative) == 1 for node in froms) * 2 > len(froms)


def add_relative_import(source: bytes, module: str, names: Sequence[str]) -> bytes:
    """Import `names` from `.module`, one a line, at its sorted place among the relative imports.

    A module that is imported from already is left alone.

    Raises:
        BadInput: the file does not parse, or a name is no identifier.
    """
    checked_dotted(module)
    wanted = sorted({checked_identifier(name) for name in names}, key=member)
    tree = parse(source)
    found = _relative(tree)
    if any(name == module for _, name in found):
        return source
    newline, indent = tree.default_newline, tree.default_indent
    inner = "".join(f"{indent}{name},{newline}" for name in wanted)
    text = f"from .{module} import ({newline}{inner}){newline}"
    new = cst.parse_statement(text, config=tree.config_for_parsing)
    body = list(tree.body)
    position = best_position([natural(name) for _, name in found], natural(module))[0]
    if position:
        body.insert(found[position - 1][0] + 1, new)
    elif found:
        body.insert(found[0][0], new)
    else:
        body.append(new)
    return checked(source, tree.with_changes(body=body))


def _relative(tree: cst.Module) -> list[tuple[int, str]]:
    """(index, module) of each top-level `from .module import` that stands alone on its line."""
    rows = []
    for index, line in enumerate(tree.body):
        node = line.body[0] if isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1 else None
        if isinstance(node, cst.ImportFrom) and len(node.relative) == 1 and node.module is not None:
            rows.append((index, dotted(node.module) or ""))
    return rows
