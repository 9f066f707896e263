"""What a model touches in a ROLL checkout beside its own package: the import that registers it, lists of types."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import libcst as cst
import libcst.matchers as m

from scaffold_tools.edit.membership import add_member
from scaffold_tools.edit.order import best_position, natural
from scaffold_tools.edit.source import checked, parse
from scaffold_tools.errors import BadInput
from scaffold_tools.targets.roll.profile import ADAPTER
from scaffold_tools.text import checked_identifier
from scaffold_tools.workspace.plan import Change

if TYPE_CHECKING:
    from scaffold_tools.targets.roll.design import Design

TEMPLATES = (ADAPTER / "models" / "converter" / "template.py").as_posix()
MODELS = (ADAPTER / "models" / "__init__.py").as_posix()


def edits(made: Design, root: Path, template: str | None = None) -> tuple[Change, ...]:
    """The import line, and the model type where experts of one tensor are gathered.

    Args:
        made: the design.
        root: the checkout.
        template: what goes to the end of template.py, in older checkouts.

    Raises:
        BadInput: a file is built in a way that an edit could only guess at.
    """
    changes = []
    path = root / MODELS
    if not path.is_file():
        raise BadInput(f"{root} has no {MODELS}", hint="give the root of a ROLL checkout with --repo")
    source = path.read_bytes()
    changes.append(_edit(MODELS, source, add_package(source, made.names.family), "models register when imported"))
    if template is not None:
        source = (root / TEMPLATES).read_bytes()
        after = append_template(source, made.names.model_type, template)
        changes.append(_edit(TEMPLATES, source, after, "templates of all models"))
    if made.converters.stacked:
        for name, _ in made.profile.moe_allgather:
            source = (root / name).read_bytes()
            after = add_member(source, made.names.model_type, subject="hf_model_type")
            changes.append(_edit(name, source, after, "experts that are one tensor are gathered before a write"))
    return tuple(change for change in changes if change.before_sha256 is not None)


def _edit(path: str, before: bytes, after: bytes, summary: str) -> Change:
    unchanged = before == after
    return Change(
        path=path,
        kind="edit",
        content=after.decode("utf-8"),
        summary=summary,
        before_sha256=None if unchanged else hashlib.sha256(before).hexdigest(),
    )


def add_package(source: bytes, name: str) -> bytes:
    """`name` at its sorted place in `from . import (...)`; the same bytes where it is there.

    Raises:
        BadInput: there is no such import.
    """
    checked_identifier(name)
    tree = parse(source, where=MODELS)
    found = m.findall(tree, m.ImportFrom(module=None, relative=[m.Dot()], names=[m.ZeroOrMore(m.ImportAlias())]))
    if not found:
        return _first_package(source, tree, name)
    node = found[0]
    assert isinstance(node, cst.ImportFrom) and not isinstance(node.names, cst.ImportStar)
    names = [alias.evaluated_name for alias in node.names]
    if name in names:
        return source
    index = best_position([natural(one) for one in names], natural(name))[0]
    return checked(source, tree.with_deep_changes(node, names=_inserted(node.names, name, index)), where=MODELS)


def _first_package(source: bytes, tree: cst.Module, name: str) -> bytes:
    """`from . import name` in front of the first relative import: models register before anything looks for them.

    Raises:
        BadInput: the module imports nothing from its own package.
    """
    for index, line in enumerate(tree.body):
        if m.matches(line, m.SimpleStatementLine(body=[m.ImportFrom(relative=[m.AtLeastN(m.Dot(), n=1)])])):
            assert isinstance(line, cst.SimpleStatementLine)
            new = cst.parse_statement(f"from . import {name}", config=tree.config_for_parsing)
            assert isinstance(new, cst.SimpleStatementLine)
            body = [*tree.body[:index], new.with_changes(leading_lines=line.leading_lines)]
            body += [line.with_changes(leading_lines=[]), *tree.body[index + 1 :]]
            return checked(source, tree.with_changes(body=body), where=MODELS)
    raise BadInput(f"{MODELS} has no `from . import ...`", hint="add the import of the model's package by hand")


def append_template(source: bytes, model_type: str, text: str) -> bytes:
    """The text after everything else of template.py, behind two blank lines.

    Raises:
        BadInput: the file has a template for this model type.
    """
    tree = parse(source, where=TEMPLATES)
    calls = m.findall(tree, m.Call(func=m.Name("register_template")))
    for call in calls:
        first = call.args[0].value if isinstance(call, cst.Call) and call.args else None
        if isinstance(first, cst.SimpleString) and first.evaluated_value == model_type:
            raise BadInput(f"{TEMPLATES} has a template for {model_type}", hint="take it out first")
    newline = tree.default_newline.encode()
    added = text.strip("\n").encode().replace(b"\n", newline)
    after = source.rstrip() + newline * 3 + added + newline
    parse(after, where=f"the edit of {TEMPLATES}")
    return after


def _inserted(names: Sequence[cst.ImportAlias], name: str, index: int) -> list[cst.ImportAlias]:
    """The aliases with one more, in the form that the others have."""
    aliases = list(names)
    between = next((one.comma for one in aliases if isinstance(one.comma, cst.Comma)), None)
    plain = between or cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    if index == len(aliases):
        last = aliases[-1]
        trailing = last.comma
        new = cst.ImportAlias(cst.Name(name), comma=trailing)
        aliases[-1] = last.with_changes(comma=plain)
    else:
        new = cst.ImportAlias(cst.Name(name), comma=plain)
    aliases.insert(index, new)
    return aliases
