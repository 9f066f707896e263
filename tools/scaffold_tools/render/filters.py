"""The Jinja filters: the only doors through which a value reaches rendered text.

A filter returns `Safe`, which is no string: whatever is done to it afterwards (`~`, `replace`, `upper`) yields a plain
value again, and the environment refuses plain values. While a `SlotLog` is active, filters put a unique harmless
placeholder instead and note what it stands for; `structure` compares the two renderings.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context, Undefined

from scaffold_tools.render import literals
from scaffold_tools.render.slots import SlotLog


class Safe:
    """Text that came out of a filter. Only the environment's finalizer reads it."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


SLOTS: ContextVar[SlotLog | None] = ContextVar("SLOTS", default=None)

_WRITERS: dict[str, Callable[..., str]] = {
    "literal": literals.python_literal,  # expression position in Python
    "string": literals.quoted,  # the same, strings alone
    "expression": literals.checked_expression,  # source composed by the tools
    "identifier": literals.checked_identifier,  # names of classes, functions, files; parts of them too
    "dotted": literals.checked_dotted,  # modules
    "docstring": literals.one_line,  # prose between triple double quotes
    "comment": literals.one_line,  # prose after a hash
    "md": literals.markdown_text,  # Markdown prose and table cells
    "code": literals.markdown_code,  # an inline code span in Markdown, with its backticks
    "url": literals.https_url,  # the target of a Markdown link
    "sh": literals.shell_word,  # one shell word
    "json": literals.json_value,
    "yaml": literals.json_value,
    "toml": literals.toml_value,
}


def safe_filters() -> dict[str, Callable[..., Safe]]:
    """Filter name to function, for `Environment.filters`."""
    return {kind: _as_filter(kind, write) for kind, write in _WRITERS.items()}


def _as_filter(kind: str, write: Callable[..., str]) -> Callable[..., Safe]:
    @pass_context  # keeps Jinja from folding a constant at compile time, which would freeze a placeholder
    def apply(_: Context, value: Any, *args: Any, **kwargs: Any) -> Safe:
        if isinstance(value, Undefined):
            str(value)  # raises and names what the context lacks
        text = write(value, *args, **kwargs)
        log = SLOTS.get()
        return Safe(text if log is None else log.add(kind, text))

    return apply
