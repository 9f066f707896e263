"""Add `from module import names` at its sorted place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import libcst as cst
import libcst.matchers as m

from scaffold_tools.edit.order import best_position, member, natural
from scaffold_tools.edit.source import checked, dotted, parse
from scaffold_tools.errors import BadInput
from scaffold_tools.text import checked_dotted, checked_identifier


@dataclass(frozen=True)
class _Import:
    """One top-level `from a.b import ...` that stands alone on its line."""

    index: int
    module: str
    node: cst.ImportFrom
    line: cst.SimpleStatementLine

    @property
    def exploded(self) -> bool:
        return self.node.lpar is not None and isinstance(self.node.lpar.whitespace_after, cst.ParenthesizedWhitespace)

    @property
    def noqa(self) -> bool:
        comment = self.line.trailing_whitespace.comment
        return comment is not None and "noqa: F401" in comment.value


def imported_names(source: bytes) -> dict[str, str]:
    """Every name that top-level `from` imports bind (in `try` and `if` blocks too), with the module it comes from.

    Relative modules keep their dots (`.bridge`); star imports bind no known name.
    """
    found: dict[str, str] = {}
    for node in m.findall(parse(source), m.ImportFrom()):
        assert isinstance(node, cst.ImportFrom)
        if not isinstance(node.names, cst.ImportStar):
            for alias in node.names:
                found[_bound(alias)] = "." * len(node.relative) + (dotted(node.module) or "")
    return found


def _bound(alias: cst.ImportAlias) -> str:
    return alias.evaluated_alias or alias.evaluated_name


def add_import_from(source: bytes, module: str, names: Sequence[str], *, line_length: int = 119) -> bytes:
    """Import `names` from `module`, in the form and at the place where the file's own style would have it.

    Merges into an import of the same module. Names that are imported from there already are left alone.

    Raises:
        BadInput: the file does not parse, a name is bound by an import from elsewhere, or is no identifier.
    """
    checked_dotted(module)
    wanted = sorted({checked_identifier(name) for name in names}, key=member)
    bound = imported_names(source)
    for name in wanted:
        if bound.get(name, module) != module:
            raise BadInput(f"{name} is imported from {bound[name]} already, so it cannot come from {module} too")
    missing = [name for name in wanted if name not in bound]
    if not missing:
        return source
    tree = parse(source)
    imports = _top_level(tree)
    same = [one for one in imports if one.module == module and not isinstance(one.node.names, cst.ImportStar)]
    if same:
        body = _replaced(tree, same[0], _merged(tree, same[0], missing, line_length))
    else:
        body = _inserted(tree, imports, module, missing, line_length)
    return checked(source, tree.with_changes(body=body))


def _top_level(tree: cst.Module) -> list[_Import]:
    found = []
    for index, line in enumerate(tree.body):
        if isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1:
            node = line.body[0]
            name = dotted(node.module) if isinstance(node, cst.ImportFrom) and not node.relative else None
            if isinstance(node, cst.ImportFrom) and name:
                found.append(_Import(index, name, node, line))
    return found


Body = list[cst.SimpleStatementLine | cst.BaseCompoundStatement]


def _replaced(tree: cst.Module, old: _Import, line: cst.SimpleStatementLine) -> Body:
    body: Body = list(tree.body)
    body[old.index] = line
    return body


def _merged(tree: cst.Module, old: _Import, missing: Sequence[str], line_length: int) -> cst.SimpleStatementLine:
    if old.exploded:
        return old.line.with_changes(body=[_with_members(old.node, missing)])
    assert not isinstance(old.node.names, cst.ImportStar)
    texts = {
        _bound(alias): tree.code_for_node(alias.with_changes(comma=cst.MaybeSentinel.DEFAULT))
        for alias in old.node.names
    }
    names = [texts.get(name, name) for name in sorted([*texts, *missing], key=member)]
    fresh = _line(tree, old.module, names, exploded=False, line_length=line_length, trailing=old.line)
    return fresh.with_changes(leading_lines=old.line.leading_lines)


def _with_members(node: cst.ImportFrom, missing: Sequence[str]) -> cst.ImportFrom:
    """Insert into a parenthesised, one-a-line import; comments stay with the names they stand beside."""
    assert not isinstance(node.names, cst.ImportStar) and node.lpar is not None
    names = list(node.names)
    opening = node.lpar.whitespace_after
    assert isinstance(opening, cst.ParenthesizedWhitespace)
    clean = opening.with_changes(first_line=cst.TrailingWhitespace(), empty_lines=[])
    if not isinstance(names[-1].comma, cst.Comma):
        closing = node.rpar.whitespace_before if node.rpar else clean
        names[-1] = names[-1].with_changes(comma=cst.Comma(whitespace_after=closing))
        node = node.with_changes(rpar=cst.RightParen())
    for name in missing:
        index = best_position([member(alias.evaluated_name) for alias in names], member(name))[0]
        alias = cst.ImportAlias(cst.Name(name), comma=cst.Comma(whitespace_after=clean))
        if index > 0:
            # What follows the previous comma (its comment, then the indent of the next line) is shared out anew.
            before = names[index - 1]
            assert isinstance(before.comma, cst.Comma)
            gap = before.comma.whitespace_after
            if isinstance(gap, cst.ParenthesizedWhitespace):
                kept = clean.with_changes(first_line=gap.first_line)
                names[index - 1] = before.with_changes(comma=before.comma.with_changes(whitespace_after=kept))
                gap = gap.with_changes(first_line=cst.TrailingWhitespace())
            alias = alias.with_changes(comma=cst.Comma(whitespace_after=gap))
        names.insert(index, alias)
    return node.with_changes(names=names)


def _inserted(
    tree: cst.Module, imports: Sequence[_Import], module: str, names: Sequence[str], line_length: int
) -> Body:
    body: Body = list(tree.body)
    siblings = _siblings(imports, module)
    alike = [one for one in siblings if one.module.count(".") == module.count(".")] or siblings
    exploded = bool(alike) and sum(one.exploded for one in alike) * 2 > len(alike)
    noqa = bool(alike) and sum(one.noqa for one in alike) * 2 > len(alike)
    line = _line(
        tree, module, names, exploded=exploded, line_length=line_length, comment="# noqa: F401" if noqa else ""
    )
    if not siblings:
        return _without_siblings(body, line)
    position = best_position([natural(one.module) for one in siblings], natural(module))[0]
    if position:
        body.insert(siblings[position - 1].index + 1, line)
        return body
    # A comment or blank line above the first import belongs to the block, so it stays on top.
    first = siblings[0]
    body[first.index] = first.line.with_changes(leading_lines=[])
    body.insert(first.index, line.with_changes(leading_lines=first.line.leading_lines))
    return body


def _siblings(imports: Sequence[_Import], module: str) -> list[_Import]:
    """Imports of the same section: those that share the most leading parts of the module's name, at least one."""
    parts = module.split(".")
    for depth in (2, 1):
        if len(parts) >= depth:
            close = [one for one in imports if one.module.split(".")[:depth] == parts[:depth]]
            if close:
                return close
    return []


def _without_siblings(body: Body, line: cst.SimpleStatementLine) -> Body:
    """After the last absolute import (or the docstring), as a section of its own."""
    last = -1
    for index, statement in enumerate(body):
        docstring = index == 0 and m.matches(statement, m.SimpleStatementLine(body=[m.Expr(m.SimpleString())]))
        if docstring or m.matches(statement, m.SimpleStatementLine(body=[m.Import() | m.ImportFrom(relative=[])])):
            last = index
    blank = [cst.EmptyLine(indent=False)] if last >= 0 else []
    body.insert(last + 1, line.with_changes(leading_lines=blank))
    return body


def _line(
    tree: cst.Module,
    module: str,
    names: Sequence[str],
    *,
    exploded: bool,
    line_length: int,
    comment: str = "",
    trailing: cst.SimpleStatementLine | None = None,
) -> cst.SimpleStatementLine:
    flat = f"from {module} import {', '.join(names)}"
    if trailing is not None and trailing.trailing_whitespace.comment is not None:
        comment = trailing.trailing_whitespace.comment.value
    suffix = f"  {comment}" if comment else ""
    if exploded or len(flat) > line_length:
        newline, indent = tree.default_newline, tree.default_indent
        inner = "".join(f"{indent}{name},{newline}" for name in names)
        flat = f"from {module} import ({newline}{inner})"
    parsed = cst.parse_statement(flat + suffix + tree.default_newline, config=tree.config_for_parsing)
    assert isinstance(parsed, cst.SimpleStatementLine)
    return parsed
