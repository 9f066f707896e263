"""Expressions of a blueprint as Python code over `hf_config`, and back.

Code is built here from checked identifiers and literals of plain data only; no text of a config ever becomes code.
"""

from __future__ import annotations

from collections.abc import Sequence

from scaffold_tools.blueprint.facts import Chosen, Const, Expression, LayerRule, PerLayer, Product, Rounded
from scaffold_tools.render.literals import checked_identifier, python_literal

Scalar = Const | Product | Rounded


def config_path(key: str, root: str = "hf_config") -> str:
    """`rope_parameters.factor` -> `hf_config.rope_parameters["factor"]`; only `*_config` keys hold attributes.

    A number is a place in a list: `multipliers.0` -> `hf_config.multipliers[0]`.
    """
    head, *rest = key.split(".")
    code, parent = f"{root}.{checked_identifier(head)}", head
    for part in rest:
        if part.isdecimal():
            code += f"[{int(part)}]"
            continue
        code += f".{checked_identifier(part)}" if parent.endswith("_config") else f"[{python_literal(part)}]"
        parent = part
    return code


def plain_key(expression: Expression | None) -> str | None:
    """The key, when the expression is nothing but one config key."""
    if isinstance(expression, Product) and expression.constant == 1.0 and len(expression.terms) == 1:
        term = expression.terms[0]
        return term.key if term.power == 1.0 else None
    return None


def scalar(expression: Scalar) -> str:
    """Code of a constant or of a product of powers of config keys."""
    if isinstance(expression, Const):
        return python_literal(expression.value)
    if isinstance(expression, Rounded):
        return _rounded(expression)
    factors = [] if expression.constant == 1.0 else [python_literal(_tidy(expression.constant))]
    for term in expression.terms:
        path = config_path(term.key)
        factors.append(path if term.power == 1.0 else f"{path}**{python_literal(_tidy(term.power))}")
    return " * ".join(factors) or "1.0"


def whole(expression: Scalar) -> str:
    """Code of a whole number: `hf_config.width // hf_config.heads`, for a float is no size."""
    if isinstance(expression, Rounded):
        return _rounded(expression)
    if isinstance(expression, Const):
        return scalar(expression)
    if all(term.power == 1.0 for term in expression.terms):
        share = round(1.0 / expression.constant) if 0 < expression.constant < 1 else 1
        if share == 1 or abs(share * expression.constant - 1.0) > 1e-9:
            return scalar(expression)
        top = scalar(Product(expression.terms))
        return f"{f'({top})' if ' ' in top else top} // {share}"
    if any(abs(term.power) != 1.0 for term in expression.terms) or not float(expression.constant).is_integer():
        return f"round({scalar(expression)})"
    above = Product(tuple(term for term in expression.terms if term.power > 0), expression.constant)
    below = [config_path(term.key) for term in expression.terms if term.power < 0]
    top = scalar(above)
    return f"{f'({top})' if ' ' in top else top} // {below[0] if len(below) == 1 else f'({" * ".join(below)})'}"


def _rounded(expression: Rounded) -> str:
    """Dividing what is negative rounds up."""
    width = f"int({python_literal(expression.share)} * {config_path(expression.width)})"
    for nominator in (2, 8):
        if expression.share == nominator / 3:
            width = f"int({nominator} * {config_path(expression.width)} / 3)"
    if expression.share == 1.0:
        width = config_path(expression.width)
    if expression.factor is not None:
        width = f"int({config_path(expression.factor)} * {width})"
    multiple = config_path(expression.multiple)
    return f"-(-{width} // {multiple}) * {multiple}"


def _tidy(number: float) -> float | int:
    return int(number) if float(number).is_integer() and abs(number) < 1e15 else number


def inverse(expression: Expression | None, code: str) -> tuple[str, str] | None:
    """(config key, code of its value) from the code of the attribute's value; None where it cannot be inverted."""
    if not isinstance(expression, Product) or len(expression.terms) != 1 or "." in expression.terms[0].key:
        return None
    term = expression.terms[0]
    if term.power == 0 or expression.constant == 0:
        return None
    value = code if expression.constant == 1.0 else f"({code} / {python_literal(_tidy(expression.constant))})"
    if term.power != 1.0:
        value = f"{value}**{python_literal(_tidy(1.0 / term.power))}"
    return term.key, value


def label_flags(expression: PerLayer, labels: Sequence[str], name: str = "kind") -> str:
    """`[int(kind == "sliding_attention") for kind in hf_config.layer_types]`: 1 where the label is one of them."""
    test = (
        f"{name} == {python_literal(labels[0])}" if len(labels) == 1 else f"{name} in {python_literal(tuple(labels))}"
    )
    return f"[int({test}) for {name} in {config_path(expression.key)}]"


LAYER_CODE: dict[str, str] = {
    "listed": "layer in {0}",
    "from": "layer >= {0}",
    "unlisted_every": "layer not in {0} and (layer + 1) % {1} == 0",
    "every_at": "layer % {0} == {1}",
    "from_every": "layer >= {0} and layer % {1} == 0",
    "every_between": "(layer + 1) % {0} == 0 and {1} <= layer <= {2}",
    "every_last": "(layer + 1) % {0} == 0",
    "every_first": "layer % {0} == 0",
}
"""Rule of `blueprint/layer_rules.py` -> its condition over `layer` and the values of its keys."""


def rule_flags(rule: LayerRule, holds: bool = True) -> str:
    """Code that gives 1 for each layer in which a rule holds (or does not)."""
    numbers = [key if key.isdigit() else config_path(key) for key in rule.keys]
    condition = LAYER_CODE[rule.rule].format(*numbers)
    condition = condition if holds else f"not ({condition})"
    return f"[int({condition}) for layer in range({config_path(rule.layers)})]"


def table_name(index: int) -> str:
    """What a rotary table is called where the config has no name for it."""
    return f"table{index}"


def chosen_tables(expression: Chosen | PerLayer) -> str:
    """Code of the name of the rotary table of each layer; the expression gives its index."""
    if isinstance(expression, PerLayer):
        names = ", ".join(
            f"{python_literal(label)}: {python_literal(table_name(case.value))}"
            for label, case in expression.cases
            if isinstance(case, Const)
        )
        return f"[{{{names}}}[kind] for kind in {config_path(expression.key)}]"
    yes, no = (table_name(case.value) for case in (expression.yes, expression.no) if isinstance(case, Const))
    flags = rule_flags(expression.rule)
    return f"[{python_literal(yes)} if flag else {python_literal(no)} for flag in {flags}]"


def value_flags(expression: Chosen, value: Const | Product) -> str:
    """Code that gives 1 for each layer that has the value."""
    return rule_flags(expression.rule, expression.yes == value)
