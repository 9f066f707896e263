"""Add `from module import *` among its like, as packages that gather exports have them."""

from __future__ import annotations

import libcst as cst

from scaffold_tools.edit.order import best_position, natural
from scaffold_tools.edit.source import checked, dotted, parse
from scaffold_tools.errors import BadInput
from scaffold_tools.text import checked_dotted


def add_star_import(source: bytes, module: str) -> bytes:
    """Import everything from `module` at its sorted place among the star imports, commented as most of them are.

    Raises:
        BadInput: the file does not parse, or has no star import to stand beside.
    """
    checked_dotted(module)
    tree = parse(source)
    stars = [(index, name, line) for index, name, line in _stars(tree)]
    if any(name == module for _, name, _ in stars):
        return source
    if not stars:
        raise BadInput(
            "the file has no star import at its top level, so an edit could only guess how it exports",
            hint=f"add: from {module} import *",
        )
    comments = [line.trailing_whitespace.comment for _, _, line in stars]
    noted = [comment.value for comment in comments if comment is not None]
    comment = f"  {max(set(noted), key=noted.count)}" if len(noted) * 2 > len(comments) else ""
    new = cst.parse_statement(f"from {module} import *{comment}{tree.default_newline}", config=tree.config_for_parsing)
    position = best_position([natural(name) for _, name, _ in stars], natural(module))[0]
    body = list(tree.body)
    if position:
        body.insert(stars[position - 1][0] + 1, new)
    else:
        first, _, line = stars[0]
        body[first] = line.with_changes(leading_lines=[])
        body.insert(first, new.with_changes(leading_lines=line.leading_lines))
    return checked(source, tree.with_changes(body=body))


def _stars(tree: cst.Module) -> list[tuple[int, str, cst.SimpleStatementLine]]:
    found = []
    for index, line in enumerate(tree.body):
        node = line.body[0] if isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1 else None
        if isinstance(node, cst.ImportFrom) and isinstance(node.names, cst.ImportStar) and not node.relative:
            assert isinstance(line, cst.SimpleStatementLine)
            found.append((index, dotted(node.module) or "", line))
    return found
