"""What hostile strings must look like before they may be used as a name, a path or an identifier."""

from __future__ import annotations

import keyword
import re
from typing import Any

from scaffold_tools.errors import BadInput

_MODEL_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MAX_NAME = 1024


def is_printable(text: str) -> bool:
    """Whether `text` has no control, format, surrogate or unassigned characters (a plain space is printable)."""
    return text.isprintable()


def check_identifier(text: object, what: str) -> str:
    """`text` as a Python identifier that may be written into generated code.

    ASCII alone, because Python normalises others (the ligature in `\N{LATIN SMALL LIGATURE FI}le` becomes `file`),
    and no keyword, because `str.isidentifier` accepts `class`.

    Raises:
        BadInput: it is not one; the message names `what`.
    """
    if not isinstance(text, str) or not text.isascii() or not text.isidentifier() or keyword.iskeyword(text):
        raise BadInput(f"{what} {_shown(text)} is not a Python identifier", hint="correct it in config.json")
    if len(text) > _MAX_NAME:
        raise BadInput(f"{what} is {len(text)} characters long", hint="correct it in config.json")
    return text


def check_config_names(config: dict[str, Any]) -> None:
    """Refuse a `model_type` or `architectures` that cannot name a model: later stages build names from them.

    Raises:
        BadInput: `model_type` (its own or that of a part, as `text_config` is) is not a short word of letters, digits,
            `.`, `_`, `-`; an architecture is no identifier.
    """
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        model_type = part.get("model_type")
        if model_type is not None and not (isinstance(model_type, str) and _MODEL_TYPE.fullmatch(model_type)):
            raise BadInput(f"model_type {_shown(model_type)} is not a model type", hint="correct it in config.json")
    architectures = config.get("architectures")
    if architectures is None:
        return
    if not isinstance(architectures, list):
        raise BadInput(f"architectures {_shown(architectures)} is not a list", hint="correct it in config.json")
    for name in architectures:
        check_identifier(name, "the architecture")


def check_tensor_name(name: str, where: str) -> str:
    """A tensor name free of control characters (they could forge lines of a report or of generated code).

    Raises:
        BadInput: it is empty, too long or has such characters.
    """
    if not name or len(name) > _MAX_NAME or not is_printable(name):
        raise BadInput(f"{where}: the tensor name {_shown(name)} is empty, too long or has control characters")
    return name


def check_file_name(name: object, where: str) -> str:
    """A file name out of a checkpoint's index: relative, inside the repository, printable.

    Raises:
        BadInput: it is absolute, has a `..` or backslash, or is no string.
    """
    if not isinstance(name, str) or not name or len(name) > _MAX_NAME or not is_printable(name):
        raise BadInput(f"{where}: {_shown(name)} is not a file name")
    parts = name.split("/")
    if "\\" in name or ":" in name or any(part in ("", ".", "..") for part in parts):
        raise BadInput(f"{where}: the file name {_shown(name)} leaves the repository")
    return name


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
