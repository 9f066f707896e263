"""Frozen dataclasses to JSON and back: the run folder holds every value of the pipeline as a file.

Writing needs the standard library alone, so that `scaffold inspect` stays fast; reading validates with pydantic,
because a person or an agent may have edited the file.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from scaffold_tools.errors import BadInput


def to_jsonable(value: Any) -> Any:
    """A frozen dataclass (or a container of them) as plain lists, dicts and scalars."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_jsonable(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): to_jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_jsonable(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    return value


def dumps(value: Any) -> str:
    """JSON text with a final newline; keys stay in the order of the dataclass fields."""
    return json.dumps(to_jsonable(value), indent=2, ensure_ascii=False) + "\n"


def loads[T](kind: type[T], text: str, *, where: str = "input") -> T:
    """Read `kind` back from JSON text.

    Raises:
        BadInput: the text is not JSON or does not have the fields of `kind`.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole document"
        raise BadInput(f"{where} is not a valid {kind.__name__}: {place}: {first['msg']}") from error
