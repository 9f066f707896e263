"""Checks of names and free text from outside, before they go into code or comments."""

from __future__ import annotations

import keyword
import re
from typing import Any

from scaffold_tools.errors import BadInput

_MAX_TEXT = 400


def checked_identifier(text: Any) -> str:
    """The text itself when it is an ASCII Python identifier and no keyword.

    ASCII because `str.isidentifier` accepts ligatures, which Python folds into other letters (NFKC).

    Raises:
        BadInput: it is not one.
    """
    if isinstance(text, str) and text.isascii() and text.isidentifier() and not keyword.iskeyword(text):
        return str(text)
    raise BadInput(f"{text!r} is not a Python identifier")


def checked_dotted(text: Any) -> str:
    """The text itself when it is identifiers joined by dots (`megatron.bridge.models`).

    Raises:
        BadInput: it is not that.
    """
    if not isinstance(text, str):
        raise BadInput(f"{text!r} is not a dotted name")
    return ".".join(checked_identifier(part) for part in text.split("."))


def one_line(text: Any, limit: int = _MAX_TEXT) -> str:
    """Free text as one printable line for a docstring or comment.

    No double quote, backslash, control or direction character; an apostrophe only inside a word. Words that steer
    tools from a comment (`coding:`, `noqa`, `type:`) lose their power.
    """
    if not isinstance(text, str):
        raise BadInput(f"a {type(text).__name__} where text is needed")
    folded = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    plain = folded.replace("\\", "/").replace('"', "`").replace("#", "")
    plain = re.sub(r"(?<![^\W_])'|'(?![^\W_])", "`", plain)
    plain = re.sub(r"(?i)\b(coding|type|mypy|ruff|flake8|isort|fmt|pylint|pyright|yapf|pragma)\s*[:=]", r"\1 -", plain)
    plain = re.sub(r"(?i)noqa", "no-qa", plain)
    plain = " ".join(plain.split())
    return plain if len(plain) <= limit else plain[: limit - 3].rstrip() + "..."
