from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path

import pytest

from scaffold_tools.errors import BadInput
from scaffold_tools.source.config_json import MAX_CONFIG_BYTES, MAX_DEPTH, parse_config, read_bytes
from support.processor_time import grows_no_faster_than_its_input


def parse(data: bytes | str) -> dict:
    return parse_config(data.encode() if isinstance(data, str) else data, where="config.json")


def test_values_are_those_of_the_file() -> None:
    assert parse('{"a": [1, 2.5, "\\u00e9", null, true], "b": {}}') == {"a": [1, 2.5, "é", None, True], "b": {}}


def test_a_byte_order_mark_is_no_obstacle() -> None:
    assert parse(b"\xef\xbb\xbf{}") == {}


def test_infinity_is_a_value_because_published_models_use_it() -> None:
    config = parse('{"time_step_limit": [0.0, Infinity], "x": NaN}')
    assert config["time_step_limit"] == [0.0, math.inf]
    assert math.isnan(config["x"])


def test_a_key_given_twice_is_refused_only_when_the_values_differ() -> None:
    assert parse('{"a": 1, "a": 1}') == {"a": 1}
    with pytest.raises(BadInput, match="'a' twice"):
        parse('{"x": {"a": 1, "a": 2}}')


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b"{} {}", "not JSON"),
        (b'{"a": 1,}', "not JSON"),
        (b"version https://git-lfs.github.com/spec/v1", "not JSON"),
        (b"[]", "a list, not an object"),
        (b"null", "null, not an object"),
        (b'"x"', "a string, not an object"),
        (b"3", "a number, not an object"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8"),
        (b'{"a": "\xe9"}', "not UTF-8"),
        (b'{"a": ' + b"1" * 5000 + b"}", "5,000 digits"),
        (b'{"a": ' + b"1" * 100 + b"}", "100 digits"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b"[" * 10_000 + b"]" * 10_000, "nested more than"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "nested more than"),
        (b"[" * 10_000_000, "nested more than"),
    ],
)
def test_what_is_no_config_is_one_clear_line(data: bytes, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint) as caught:
        parse(data)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_brackets_inside_strings_are_not_depth() -> None:
    text = json.dumps({"a": "[" * 1000, 'quote"[[[': "\\" * 5 + '"' + "{" * 500})
    assert parse(text) == json.loads(text)
    deepest = '{"a":' * MAX_DEPTH + "1" + "}" * MAX_DEPTH
    assert parse(deepest)
    with pytest.raises(BadInput):
        parse('{"a":' + deepest + "}")


def test_a_string_that_never_ends_costs_linear_time() -> None:
    def refused(quotes: int) -> None:
        with pytest.raises(BadInput, match="not JSON"):
            parse(b'{"a": "' + b'\\"' * quotes)

    assert grows_no_faster_than_its_input(refused, 250_000)


def test_the_measure_sees_quadratic_time() -> None:
    def search(size: int) -> None:
        numbers = list(range(size))
        assert all(number in numbers for number in range(size))

    assert not grows_no_faster_than_its_input(search, 400, tries=2)


def test_many_gigabytes_are_refused_unread(tmp_path: Path) -> None:
    huge = tmp_path / "config.json"
    with huge.open("wb") as file:
        file.truncate(1 << 36)  # sparse: no disk, but minutes to read
    start = time.perf_counter()
    with pytest.raises(BadInput, match="68,719,476,736 bytes"):
        read_bytes(huge, limit=MAX_CONFIG_BYTES, what="config.json")
    assert time.perf_counter() - start < 2


def test_a_pipe_or_a_device_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("config.json", "zero"):
        with pytest.raises(BadInput, match="not a regular file"):
            read_bytes(tmp_path / name, limit=100, what=name)
    with pytest.raises(BadInput, match="not a regular file"):
        read_bytes(tmp_path, limit=100, what="folder")
    with pytest.raises(BadInput, match="No such file"):
        read_bytes(tmp_path / "absent", limit=100, what="absent")
