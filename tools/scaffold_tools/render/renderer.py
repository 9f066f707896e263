"""A Jinja environment in which values reach text only through filters, and a render call that checks the result."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, nodes
from jinja2.runtime import BlockReference, Context, Macro
from jinja2.utils import internalcode

from scaffold_tools.errors import ScaffoldError
from scaffold_tools.render.filters import SLOTS, Safe, safe_filters
from scaffold_tools.render.slots import SlotLog
from scaffold_tools.render.structure import UnsafeRender, check_data, check_python, check_text

__all__ = ["Renderer", "TemplateBroken", "UnsafeRender"]


class TemplateBroken(ScaffoldError):
    """A template does not exist, does not parse, or uses a name that its context does not have."""


class _Context(Context):
    """Calls of macros and blocks yield `Safe`: what they print has been through filters already."""

    @internalcode
    def call(self, obj: Any, *args: Any, **kwargs: Any) -> Any:
        result: Any = super().call(obj, *args, **kwargs)
        return Safe(result) if isinstance(obj, (Macro, BlockReference)) else result


def _concat(parts: Iterable[Any]) -> str:
    """A `call` block yields the macro's result past the finalizer."""
    return "".join(part.text if isinstance(part, Safe) else part for part in parts)


class _Environment(Environment):
    context_class = _Context
    concat = staticmethod(_concat)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for block in tree.find_all(nodes.FilterBlock):
            # A filter block rewrites text that is already checked, past the finalizer.
            if not isinstance(block.filter, nodes.Filter) or block.filter.name != "indent":
                raise UnsafeRender(f"{name}:{block.lineno}: only `indent` may filter a block of template text")
        return tree


def _finalize(value: Any) -> str:
    if isinstance(value, Safe):
        return value.text
    raise UnsafeRender(
        f"a template puts {str(value)[:60]!r} into text without a filter (literal, identifier, md, ...)"
    )


class Renderer:
    """Renders the templates of one folder, or of several, of which the first that has a name gives it.

    Names end in the suffix of what they make, with or without `.j2` (`bridge.py.j2` makes Python).
    """

    def __init__(self, *templates_dirs: Path) -> None:
        self._environment = _Environment(
            loader=FileSystemLoader(templates_dirs),
            undefined=StrictUndefined,
            finalize=_finalize,
            autoescape=False,
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(safe_filters())

    def render(self, template: str, context: Mapping[str, Any]) -> str:
        """The text of one template, its shape checked against a rendering with placeholders.

        Raises:
            BadInput: a value is not what its filter needs.
            TemplateBroken: no such template, a syntax error, a name that `context` lacks.
            UnsafeRender: a value without a filter, or a result that is not of the template's shape.
        """
        real, log = self._once(template, context), SlotLog()
        while log.prefix in real:
            log = SlotLog()
        token = SLOTS.set(log)
        try:
            placeholder = self._once(template, context)
        finally:
            SLOTS.reset(token)
        _check(template, real, placeholder, log)
        return real

    def _once(self, template: str, context: Mapping[str, Any]) -> str:
        try:
            return self._environment.get_template(template).render(dict(context))
        except TemplateError as error:
            line, name = getattr(error, "lineno", None), getattr(error, "name", None) or template
            place = f":{line}" if line else ""
            raise TemplateBroken(f"template {name}{place}: {error.message or type(error).__name__}") from error


def _check(template: str, real: str, placeholder: str, log: SlotLog) -> None:
    suffix = PurePosixPath(template.removesuffix(".j2")).suffix
    if suffix == ".py":
        check_python(real, placeholder, log, where=template)
    elif suffix in (".toml", ".json"):
        check_data(real, placeholder, log, kind=suffix[1:], where=template)
    else:
        check_text(real, placeholder, log, where=template)
        if suffix == ".sh":
            _check_shell(real, template)


def _check_shell(text: str, where: str) -> None:
    bash = shutil.which("bash")
    if bash is None:
        return
    done = subprocess.run([bash, "-n"], input=text.encode(), capture_output=True, check=False)
    if done.returncode:
        raise UnsafeRender(f"{where} does not render to a shell script: {done.stderr.decode(errors='replace')}")
