"""Add a recipe to a script's `config_map`, the dict from a model's name to the function that makes its config."""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst
import libcst.matchers as m

from scaffold_tools.edit.imports import add_import_from
from scaffold_tools.edit.source import checked, parse
from scaffold_tools.errors import BadInput
from scaffold_tools.text import checked_identifier

NAME = "config_map"
_HINT = "add the recipe by hand"


def add_to_config_map(source: bytes, key: str, recipes: Mapping[str, str], module: str) -> bytes:
    """Map `key` to the recipe of the task that the other entries are of, and import that.

    Args:
        source: the script.
        key: the model, as the script's option will name it.
        recipes: task (`pretrain`, `sft`, `peft`) to the name of its recipe.
        module: where recipes are imported from.

    Raises:
        BadInput: there is no dict of that name from strings to functions, or its entries are of several tasks.
    """
    checked_identifier(key)
    tree = parse(source)
    found = m.findall(tree, m.Assign(targets=[m.AssignTarget(m.Name(NAME))], value=m.Dict()))
    if len(found) != 1 or not isinstance(found[0], cst.Assign) or not isinstance(found[0].value, cst.Dict):
        raise BadInput(f"the script has no single dict {NAME}", hint=_HINT)
    mapping = found[0].value
    entries = [element for element in mapping.elements if isinstance(element, cst.DictElement)]
    if len(entries) != len(mapping.elements) or not entries or not all(_plain(one) for one in entries):
        raise BadInput(f"{NAME} is not a dict from strings to functions", hint=_HINT)
    if any(m.matches(one.key, m.SimpleString()) and _text(one.key) == key for one in entries):
        return source
    tasks = {task for task in recipes if all(_name(one.value).endswith(f"_{task}_config") for one in entries)}
    if len(tasks) != 1:
        raise BadInput(f"the functions in {NAME} are not all of one task", hint=_HINT)
    recipe = checked_identifier(recipes[tasks.pop()])
    new = cst.DictElement(cst.SimpleString(f'"{key}"'), cst.Name(recipe))
    edited = tree.deep_replace(mapping, _joined(mapping, entries, new))
    assert isinstance(edited, cst.Module)
    return add_import_from(checked(source, edited), module, [recipe])


def _joined(mapping: cst.Dict, entries: list[cst.DictElement], new: cst.DictElement) -> cst.Dict:
    """The dict with a new last entry; a comment stays beside the entry that it stands beside."""
    last, closing = entries[-1], mapping.rbrace.whitespace_before
    first = entries[0].comma.whitespace_after if isinstance(entries[0].comma, cst.Comma) else None
    if not isinstance(closing, cst.ParenthesizedWhitespace) or not isinstance(first, cst.ParenthesizedWhitespace):
        comma = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
        return mapping.with_changes(elements=[*mapping.elements[:-1], last.with_changes(comma=comma), new])
    between = first.with_changes(first_line=closing.first_line, empty_lines=[])
    behind = closing.with_changes(first_line=cst.TrailingWhitespace())
    last = last.with_changes(comma=cst.Comma(whitespace_after=between))
    return mapping.with_changes(
        elements=[*mapping.elements[:-1], last, new.with_changes(comma=cst.Comma())],
        rbrace=mapping.rbrace.with_changes(whitespace_before=behind),
    )


def _plain(entry: cst.DictElement) -> bool:
    return isinstance(entry.key, cst.SimpleString) and isinstance(entry.value, cst.Name | cst.Attribute)


def _name(node: cst.BaseExpression) -> str:
    return node.value if isinstance(node, cst.Name) else node.attr.value if isinstance(node, cst.Attribute) else ""


def _text(node: cst.BaseExpression) -> object:
    return node.evaluated_value if isinstance(node, cst.SimpleString) else None
