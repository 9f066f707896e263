"""JSON from a stranger: config.json as raw values, with limits, never through a library that may run code.

Python's own extensions to JSON are kept where published models use them: `Infinity`, `-Infinity` and `NaN` are read as
floats (Nemotron-H has `"time_step_limit": [0.0, Infinity]`), so a consumer must not assume that floats are finite.
"""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

from scaffold_tools.errors import BadInput

MAX_CONFIG_BYTES = 16 * 1024 * 1024
"""Published config.json files are below 100 KB; the largest (long quantisation lists) are a few MB."""
MAX_DEPTH = 64
"""Published ones nest below 10 deep."""
MAX_DIGITS = 40
"""No size or token id needs more; Python refuses above 4,300, and long ones cost quadratic time."""

# One match a string, opening or closing bracket. The possessive quantifier and the `\Z` keep it linear when a string
# is never closed.
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)


def read_bytes(path: Path, *, limit: int, what: str) -> bytes:
    """The content of a regular file of at most `limit` bytes; larger ones are refused unread.

    Raises:
        BadInput: it cannot be read, is no regular file (a pipe or device would block), or is larger.
    """
    try:
        with _open_regular(path, what) as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise BadInput(f"{what} is {size:,} bytes, more than the {limit:,} that are accepted")
            data = file.read(limit + 1)
    except OSError as error:
        raise BadInput(f"cannot read {what}: {error.strerror or error}") from error
    if len(data) > limit:
        raise BadInput(f"{what} is more than the {limit:,} bytes that are accepted")
    return data


def _open_regular(path: Path, what: str) -> Any:
    # O_NONBLOCK: opening a named pipe must not wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadInput(f"{what} is not a regular file", hint="give a model folder or its config.json")
    return os.fdopen(descriptor, "rb")


def parse_config(data: bytes, *, where: str) -> dict[str, Any]:
    """A JSON object with the limits of this module.

    Raises:
        BadInput: too large, not UTF-8, not JSON, not an object, nested too deep, a key given twice with different
            values, a number of too many digits, or a string that cannot be written back (a lone surrogate).
    """
    if len(data) > MAX_CONFIG_BYTES:
        raise BadInput(f"{where} is {len(data):,} bytes, more than the {MAX_CONFIG_BYTES:,} that are accepted")
    text = decode_utf8(data, where)
    _check_depth(text, where)
    value = load_json(text, where)
    if not isinstance(value, dict):
        raise BadInput(f"{where} holds {_kind(value)}, not an object", hint="give the config.json of a model")
    if "\\u" in text:
        _check_writable(value, where)
    return value


def decode_utf8(data: bytes, where: str) -> str:
    """Strict UTF-8, with or without a byte-order mark.

    Raises:
        BadInput: it is something else.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{where} is not UTF-8 text (byte {error.start})", hint="save it as UTF-8") from error


def load_json(text: str, where: str) -> Any:
    """`json.loads` without its silent last-one-wins, and with one clear line for every way it can fail.

    Raises:
        BadInput: not JSON, too deep, conflicting duplicate keys, too long a number.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            _refuse_conflict(pairs, where)
        return result

    def integer(digits: str) -> int:
        if len(digits) > MAX_DIGITS:
            raise BadInput(f"{where} has a number of {len(digits):,} digits", hint=f"at most {MAX_DIGITS}")
        return int(digits)

    try:
        return json.loads(text, object_pairs_hook=unique, parse_int=integer)
    except json.JSONDecodeError as error:
        raise BadInput(f"{where} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise BadInput(f"{where} is nested too deep") from error


def _refuse_conflict(pairs: list[tuple[str, Any]], where: str) -> None:
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen and seen[key] != value:
            raise BadInput(f"{where} gives the key {key[:80]!r} twice with different values", hint="remove one")
        seen[key] = value


def _check_depth(text: str, where: str) -> None:
    depth = 0
    for match in _TOKENS.finditer(text):
        first = match[0][0]
        if first in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise BadInput(f"{where} is nested more than {MAX_DEPTH} deep")
        elif first in "]}":
            depth -= 1


def _check_writable(value: Any, where: str) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadInput(f"{where} has half of a surrogate pair in a string", hint="it is not valid Unicode") from error


def _kind(value: Any) -> str:
    names = {list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")
