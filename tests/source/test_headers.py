from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from scaffold_tools.errors import BadInput
from scaffold_tools.source.headers import Folder, in_threads, parse_header, read_table
from support.safetensors_bytes import safetensors_bytes, sharded, with_header

LLAMA = {"model.norm.weight": ("BF16", (8,)), "lm_head.weight": ("F32", (16, 8))}


def folder(path: Path, files: dict[str, bytes]) -> Folder:
    for name, data in files.items():
        (path / name).write_bytes(data)
    return Folder(path)


def rows(table: Any) -> dict[str, tuple[str, tuple[int, ...], str]]:
    return {tensor.name: (tensor.dtype, tensor.shape, tensor.shard) for tensor in table.tensors}


def test_a_single_file_gives_its_table(tmp_path: Path) -> None:
    table = read_table(folder(tmp_path, {"model.safetensors": safetensors_bytes(LLAMA)}))
    assert table is not None and table.origin == "headers"
    assert rows(table) == {name: (*spec, "model.safetensors") for name, spec in LLAMA.items()}


def test_a_header_longer_than_the_first_read_is_read_whole(tmp_path: Path) -> None:
    many = {f"model.layers.{index}.weight": ("BF16", (2, 3)) for index in range(3000)}
    table = read_table(folder(tmp_path, {"model.safetensors": safetensors_bytes(many, padding=7)}))
    assert len(rows(table)) == 3000


def test_shards_are_put_together(tmp_path: Path) -> None:
    shards = [{f"layer.{index}.weight": ("F16", (index + 1, 2))} for index in range(20)]
    table = read_table(folder(tmp_path, sharded(shards)))
    assert rows(table)["layer.7.weight"] == ("F16", (8, 2), "model-00008-of-00020.safetensors")
    assert len(rows(table)) == 20


def test_a_folder_without_safetensors_has_no_table(tmp_path: Path) -> None:
    assert read_table(folder(tmp_path, {"pytorch_model.bin": b"x"})) is None


def test_a_folder_that_cannot_be_listed_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot read the folder"):
        Folder(tmp_path / "absent")


def test_file_names_that_are_no_text_are_left_out(tmp_path: Path) -> None:
    for name in (b"config.json", b"\xff\xfe.json", b"a\nb"):
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))).touch()
    assert Folder(tmp_path).names == ("config.json",)


def test_a_shard_that_the_index_names_and_nobody_has_is_named(tmp_path: Path) -> None:
    files = sharded([LLAMA, {"x": ("F32", (1,))}])
    del files["model-00002-of-00002.safetensors"]
    with pytest.raises(BadInput, match=r"1 shards .* 'model-00002-of-00002.safetensors'"):
        read_table(folder(tmp_path, files))


def test_a_tensor_that_the_index_names_and_no_shard_has_is_named(tmp_path: Path) -> None:
    files = sharded([LLAMA])
    index = json.loads(files["model.safetensors.index.json"])
    index["weight_map"]["lost"] = "model-00001-of-00001.safetensors"
    files["model.safetensors.index.json"] = json.dumps(index).encode()
    with pytest.raises(BadInput, match="no tensor 'lost'"):
        read_table(folder(tmp_path, files))


def test_a_tensor_in_two_shards_is_the_one_that_the_index_names(tmp_path: Path) -> None:
    files = sharded([{"a": ("F32", (1,)), "b": ("F32", (2,))}, {"b": ("F32", (3,))}])
    assert rows(read_table(folder(tmp_path, files)))["b"][1] == (3,)
    index = json.loads(files["model.safetensors.index.json"])
    index["weight_map"] = {"a": "model-00001-of-00002.safetensors", "c": "model-00002-of-00002.safetensors"}
    files["model.safetensors.index.json"] = json.dumps(index).encode()
    files["model-00002-of-00002.safetensors"] = safetensors_bytes({"b": ("F32", (3,)), "c": ("F32", (1,))})
    with pytest.raises(BadInput, match="two shards"):
        read_table(folder(tmp_path, files))


@pytest.mark.parametrize("shard", ["../secret.safetensors", "/etc/passwd", "a\\b", "", "a\x00b", 5, None, ["x"]])
def test_an_index_cannot_name_a_file_outside(tmp_path: Path, shard: Any) -> None:
    index = json.dumps({"weight_map": {"x": shard}}).encode()
    with pytest.raises(BadInput, match=r"index\.json"):
        read_table(folder(tmp_path, {"model.safetensors.index.json": index}))


@pytest.mark.parametrize("index", [b"[]", b"{}", b'{"weight_map": []}', b'{"weight_map": {}}', b"not json", b"\xff"])
def test_an_index_without_a_weight_map_is_refused(tmp_path: Path, index: bytes) -> None:
    with pytest.raises(BadInput, match=r"index\.json"):
        read_table(folder(tmp_path, {"model.safetensors.index.json": index}))


def entry(dtype: Any = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        ({"a": entry("F33")}, "unknown dtype"),
        ({"a": entry(["F32"])}, "unknown dtype"),
        ({"a": 3}, "unknown dtype"),
        ({"a": entry(shape=[-1])}, "no valid shape"),
        ({"a": entry(shape=[True])}, "no valid shape"),
        ({"a": entry(shape=[1.0])}, "no valid shape"),
        ({"a": entry(shape="1")}, "no valid shape"),
        ({"a": entry(shape=[2**63])}, "no valid shape"),
        ({"a": entry(shape=[2**62, 2**62])}, "offsets differ"),
        ({"a": entry(offsets=[4, 0])}, "no valid data_offsets"),
        ({"a": entry(offsets=[0])}, "no valid data_offsets"),
        ({"a": entry(offsets=[0, 8])}, "offsets differ"),
        ({"a": entry(offsets=[4, 8])}, "starts at 4"),
        ({"a": entry(), "b": entry()}, "starts at 0"),
        ({"a": entry(), "b": entry(offsets=[8, 12])}, "starts at 8"),
        ({"a": entry()}, "describes 4 bytes of data, the file has 8"),
        ({"a\nb": entry()}, "tensor name"),
        ({"": entry()}, "tensor name"),
        ([], "not a JSON object"),
    ],
)
def test_a_header_that_breaks_a_rule_of_the_format_is_refused(header: Any, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        parse_header(json.dumps(header).encode(), where="model.safetensors", shard=None, data_bytes=8)


def test_a_name_twice_is_refused() -> None:
    one = json.dumps(entry())
    with pytest.raises(BadInput, match="twice"):
        text = f'{{"a": {one}, "a": {json.dumps(entry(shape=[1, 1]))}}}'
        parse_header(text.encode(), where="x", shard=None, data_bytes=4)


def test_scalars_empty_tensors_and_packed_dtypes_are_right() -> None:
    header = {"s": entry("F32", [], [0, 4]), "e": entry("F32", [0, 3], [4, 4]), "p": entry("F4", [3, 2], [4, 7])}
    tensors = parse_header(json.dumps(header).encode(), where="x", shard=None, data_bytes=7)
    assert {tensor.name: tensor.shape for tensor in tensors} == {"s": (), "e": (0, 3), "p": (3, 2)}


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "not a safetensors file"),
        (b"\x01\x00", "not a safetensors file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "not a safetensors file"),
        ((2**40).to_bytes(8, "little") + b"{", "declares a header"),
        ((500).to_bytes(8, "little") + b"{}", "ends inside its header"),
        (with_header(b"{nonsense"), "not JSON"),
        (with_header(b'{"a": "\xff"}'), "not UTF-8"),
        (with_header(b'{"a":' * 5000 + b"1" + b"}" * 5000), "nested too deep"),
        (safetensors_bytes(LLAMA)[:-3], "describes"),
    ],
)
def test_a_file_that_is_broken_is_refused(tmp_path: Path, data: bytes, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        read_table(folder(tmp_path, {"model.safetensors": data}))


def test_the_first_error_of_many_threads_is_raised() -> None:
    def work(item: int) -> int:
        if item == 3:
            raise BadInput("three")
        return item * 2

    assert in_threads(work, [1, 2]) == [2, 4]
    with pytest.raises(BadInput, match="three"):
        in_threads(work, list(range(50)))
