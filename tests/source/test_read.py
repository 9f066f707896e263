from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scaffold_tools import jsonio
from scaffold_tools.errors import BadInput
from scaffold_tools.paths import data_dir
from scaffold_tools.source.derive import write_table
from scaffold_tools.source.inventory import Inventory
from scaffold_tools.source.read import read_inventory
from scaffold_tools.source.saved import save_table
from support.loopback_hub import LoopbackHub
from support.processor_time import grows_no_faster_than_its_input
from support.safetensors_bytes import safetensors_bytes, sharded

CONFIG = b'{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}'
WEIGHTS = safetensors_bytes({"model.norm.weight": ("BF16", (8,))})
DERIVED = {"tensors": [{"name": "a.weight", "shape": [2, 3], "dtype": "BF16"}], "notes": ["a note of the job"]}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_bytes(CONFIG)
    return folder


def test_a_folder_with_weights(model: Path) -> None:
    (model / "model.safetensors").write_bytes(WEIGHTS)
    (model / "generation_config.json").write_text('{"temperature": 0.6}')
    (model / "hf_quant_config.json").write_text('{"quantization": {}}')
    inventory = read_inventory(str(model))
    assert inventory.source.kind == "folder" and inventory.source.revision is None
    assert inventory.config["model_type"] == "llama"
    assert inventory.tensors is not None and inventory.tensors.origin == "headers"
    assert inventory.generation_config == {"temperature": 0.6}
    assert inventory.quantization == {"quantization": {}}
    assert "model.safetensors" in inventory.files
    assert inventory.notes == ()


def test_a_hub_and_a_folder_with_the_same_files_give_the_same_inventory(
    model: Path, loopback_hub: LoopbackHub
) -> None:
    files = {"config.json": CONFIG, "generation_config.json": b'{"a": 1}'}
    files |= sharded([{f"l.{index}": ("F16", (index, 2))} for index in range(3)])
    for name, data in files.items():
        (model / name).write_bytes(data)
    commit = loopback_hub.add("org/model", files)
    local, remote = read_inventory(str(model)), read_inventory("org/model")
    for part in ("config", "tensors", "generation_config", "quantization", "files", "notes"):
        assert getattr(local, part) == getattr(remote, part), part
    assert (remote.source.revision, remote.source.endpoint) == (commit, loopback_hub.endpoint)
    assert jsonio.loads(Inventory, jsonio.dumps(remote)) == remote


def test_a_link_to_a_revision_reads_that_one(loopback_hub: LoopbackHub) -> None:
    loopback_hub.add("org/model", {"config.json": CONFIG})
    old = loopback_hub.add("org/model", {"config.json": b'{"model_type": "old"}'}, revision="v0")
    inventory = read_inventory(f"{loopback_hub.endpoint}/org/model/tree/v0")
    assert inventory.config == {"model_type": "old"} and inventory.source.revision == old


def test_a_config_alone_has_no_table_and_says_so(model: Path) -> None:
    inventory = read_inventory(str(model / "config.json"))
    assert inventory.tensors is None and inventory.source.kind == "config"
    assert inventory.notes == ("a config.json alone was given: there is no tensor table",)


def test_weights_beside_a_config_that_was_given_alone_are_mentioned(model: Path) -> None:
    (model / "model.safetensors").write_bytes(WEIGHTS)
    inventory = read_inventory(str(model / "config.json"))
    assert inventory.tensors is None
    assert "model.safetensors beside it was not read" in inventory.notes[0]


def test_without_headers_the_table_is_derived_and_said_to_be(model: Path) -> None:
    asked: list[dict[str, Any]] = []

    def derive(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request)
        return DERIVED

    inventory = read_inventory(str(model), derive_table=derive)
    assert inventory.tensors is not None and inventory.tensors.origin == "transformers-class"
    assert inventory.tensors.tensors[0].shape == (2, 3)
    assert "derived from the class" in " ".join(inventory.notes) and "a note of the job" in inventory.notes
    assert asked == [
        {
            "config": json.loads(CONFIG),
            "architecture": "LlamaForCausalLM",
            "trust_remote_code": False,
            "model_folder": str(model),
        }
    ]


def test_headers_are_believed_before_the_class(model: Path) -> None:
    (model / "model.safetensors").write_bytes(WEIGHTS)

    def derive(request: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError("not needed")

    inventory = read_inventory(str(model), derive_table=derive)
    assert inventory.tensors is not None and inventory.tensors.origin == "headers"


def test_a_checkpoint_in_pickle_is_not_opened(model: Path) -> None:
    (model / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    inventory = read_inventory(str(model), derive_table=lambda request: DERIVED)
    assert "pytorch_model.bin cannot be read without running it" in " ".join(inventory.notes)


def test_a_quantised_checkpoint_without_headers_is_said_to_have_other_tensors(model: Path) -> None:
    (model / "hf_quant_config.json").write_text('{"quantization": {}}')
    notes = " ".join(read_inventory(str(model), derive_table=lambda request: DERIVED).notes)
    assert "has other tensors" in notes
    assert "has other tensors" not in " ".join(read_inventory(str(model)).notes)


def test_a_class_that_transformers_does_not_have_is_bad_input(model: Path) -> None:
    answer = {"problem": "transformers does not know model_type 'x'", "hint": "use --trust-remote-code"}
    with pytest.raises(BadInput, match="--trust-remote-code"):
        read_inventory(str(model), derive_table=lambda request: answer)


@pytest.mark.parametrize(
    "row", [None, {}, {"name": "a", "shape": [1], "dtype": "F33"}, {"name": "a\n", "shape": [1], "dtype": "F32"}]
)
def test_a_derived_table_is_checked_like_any_other(model: Path, row: Any) -> None:
    with pytest.raises(BadInput):
        read_inventory(str(model), derive_table=lambda request: {"tensors": [row]})


def test_a_saved_table_is_read_when_there_are_no_weights(model: Path) -> None:
    derived = read_inventory(str(model), derive_table=lambda request: DERIVED).tensors
    assert derived is not None
    write_table(model, lambda request: DERIVED)
    inventory = read_inventory(str(model))
    assert inventory.tensors == derived
    assert "saved tensors.json" in inventory.notes[0]
    assert (model / "tensors.json").read_text() == save_table(derived)
    (model / "model.safetensors").write_bytes(WEIGHTS)
    with_weights = read_inventory(str(model)).tensors
    assert with_weights is not None and with_weights.origin == "headers"


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        '{"origin": "dream", "tensors": []}',
        '{"origin": "headers", "tensors": [{"name": "a"}]}',
        '{"origin": "headers", "tensors": [%s, %s]}' % (('{"name": "a", "shape": [1], "dtype": "F32"}',) * 2),
    ],
)
def test_a_saved_table_that_is_none_is_refused(model: Path, text: str) -> None:
    (model / "tensors.json").write_text(text)
    with pytest.raises(BadInput, match="tensors"):
        read_inventory(str(model))


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["model-Q4_K_M.gguf", "README.md"], "only GGUF files"),
        (["adapter_config.json", "adapter_model.safetensors"], "an adapter"),
        (["model_index.json"], "diffusers"),
        (["params.json", "consolidated.safetensors"], "original format"),
        (["README.md"], "has no config.json"),
        ([], "is empty"),
    ],
)
def test_a_place_without_config_says_what_it_is(
    names: list[str], complaint: str, tmp_path: Path, loopback_hub: LoopbackHub
) -> None:
    loopback_hub.add("org/model", dict.fromkeys(names, b""))
    (tmp_path / "local").mkdir()
    for name in names:
        (tmp_path / "local" / name).touch()
    for link in ("org/model", str(tmp_path / "local")):
        with pytest.raises(BadInput, match=complaint) as caught:
            read_inventory(link)
        assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "config",
    [b"[" * 10_000, b"{", b'{"model_type": "\\"; import os #"}', b'{"architectures": ["class"]}'],
)
def test_a_config_that_cannot_be_used_is_bad_input_wherever_it_is(
    config: bytes, model: Path, loopback_hub: LoopbackHub
) -> None:
    (model / "config.json").write_bytes(config)
    loopback_hub.add("org/model", {"config.json": config})
    for link in ("org/model", str(model), str(model / "config.json")):
        with pytest.raises(BadInput):
            read_inventory(link)


def test_a_broken_side_file_is_noted_and_not_used(model: Path) -> None:
    (model / "generation_config.json").write_text("{")
    inventory = read_inventory(str(model))
    assert inventory.generation_config is None
    assert any("generation_config.json is not JSON" in note for note in inventory.notes)


def test_the_embedded_example_is_the_published_model() -> None:
    inventory = read_inventory(str(data_dir("examples") / "Qwen--Qwen3-8B"))
    assert inventory.tensors is not None and len(inventory.tensors.tensors) == 399
    elements = 0
    for tensor in inventory.tensors.tensors:
        size = 1
        for extent in tensor.shape:
            size *= extent
        elements += size
    assert elements == 8_190_735_360  # the parameter count that the hub shows for Qwen/Qwen3-8B


def test_a_local_folder_is_read_fast_and_without_heavy_imports(model: Path) -> None:
    (model / "model.safetensors").write_bytes(WEIGHTS)
    code = (
        "import sys, time\n"
        "from scaffold_tools.source.read import read_inventory\n"
        "def once():\n"
        "    start = time.perf_counter()\n"
        f"    read_inventory({str(model)!r})\n"
        "    return time.perf_counter() - start\n"
        "print(min(once() for _ in range(5)))\n"
        "print(sorted({'torch', 'transformers', 'huggingface_hub', 'httpx2', 'pydantic'} & set(sys.modules)))"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    seconds, modules = child.stdout.splitlines()
    assert modules == "[]"
    assert float(seconds) < 0.05


def test_a_checkpoint_of_many_experts_takes_time_by_their_number_and_not_its_square(tmp_path: Path) -> None:
    def write(layers: int) -> None:
        folder = tmp_path / str(layers)
        folder.mkdir()
        (folder / "config.json").write_bytes(CONFIG)
        names = [
            f"model.layers.{layer}.mlp.experts.{expert}.{part}.weight"
            for layer in range(layers)
            for expert in range(256)
            for part in ("gate_proj", "up_proj", "down_proj")
        ]
        parts = [names[start : start + 1000] for start in range(0, len(names), 1000)]
        for name, data in sharded([{name: ("BF16", (4, 4)) for name in part} for part in parts]).items():
            (folder / name).write_bytes(data)

    def read(layers: int) -> None:
        inventory = read_inventory(str(tmp_path / str(layers)))
        assert inventory.tensors is not None and len(inventory.tensors.tensors) == layers * 256 * 3

    for layers in (3, 24):
        write(layers)
    assert grows_no_faster_than_its_input(read, 3, times=8)
