"""Templates to text, such that a value can never become code; then the target's own formatter."""

from scaffold_tools.render.literals import checked_dotted, checked_identifier, one_line, python_literal
from scaffold_tools.render.renderer import Renderer, UnsafeRender
from scaffold_tools.render.style import Finding, Style, format_many, format_python, lint_many, lint_python

__all__ = [
    "Finding",
    "Renderer",
    "Style",
    "UnsafeRender",
    "checked_dotted",
    "checked_identifier",
    "format_many",
    "format_python",
    "lint_many",
    "lint_python",
    "one_line",
    "python_literal",
]
