"""Dequantising code against the libraries that define the formats, on tensors that they made themselves.

The tensors lie in tests/data/quantised, with the versions of what made them; `make.py` there makes them again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from scaffold_tools.blueprint.facts import Stored
from scaffold_tools.blueprint.stored import derive_stored
from scaffold_tools.classify.model import classify
from scaffold_tools.paths import data_dir
from scaffold_tools.render import Renderer, Style, format_many
from scaffold_tools.source.headers import Folder, read_header
from scaffold_tools.source.inventory import Inventory, Source, TensorTable
from scaffold_tools.targets.megatron_bridge.quantised.words import words
from scaffold_tools.verify.lane import LaneSession
from scaffold_tools.verify.lane_env import find_lane

pytestmark = pytest.mark.lane

GOLDEN = Path(__file__).parents[2] / "data" / "quantised"


class Golden(NamedTuple):
    """A case of make.py."""

    format: str
    """What the classification must find in the header alone."""
    settings: dict[str, Any]
    """quantization_config."""
    error: float = 0.0
    """Largest difference allowed, relative to the largest weight: above zero where the library itself computes in
    less than float32."""


def _fp8(rows: int, columns: int) -> dict[str, Any]:
    return {"quant_method": "fp8", "weight_block_size": [rows, columns]}


def _compressed(packing: str, **weights: Any) -> dict[str, Any]:
    groups = {"group_0": {"targets": ["Linear"], "weights": weights}}
    return {"quant_method": "compressed-tensors", "format": packing, "config_groups": groups}


_GPTQ = {"quant_method": "gptq", "group_size": 32}
GOLDENS = {
    "autoawq-int4": Golden("awq", {"quant_method": "awq", "bits": 4, "group_size": 32}),
    "bitsandbytes-fp4": Golden("bnb-fp4", {"quant_method": "bitsandbytes", "load_in_4bit": True}),
    "bitsandbytes-int8": Golden("bnb-int8", {"quant_method": "bitsandbytes", "load_in_8bit": True}, 1e-7),
    "bitsandbytes-nf4": Golden(
        "bnb-nf4", {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    ),
    "bitsandbytes-nf4-nested": Golden(
        "bnb-nf4", {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    ),
    "compressed-tensors-fp8-blocks-uneven": Golden(
        "fp8-block",
        _compressed("float-quantized", type="float", num_bits=8, strategy="block", block_structure=[16, 32]),
    ),
    "compressed-tensors-fp8-channel": Golden(
        "fp8-channel", _compressed("float-quantized", type="float", num_bits=8, strategy="channel")
    ),
    "compressed-tensors-fp8-tensor": Golden(
        "fp8-tensor", _compressed("float-quantized", type="float", num_bits=8, strategy="tensor")
    ),
    "compressed-tensors-int4-channel-uneven": Golden(
        "int-packed", _compressed("pack-quantized", type="int", num_bits=4, strategy="channel")
    ),
    "compressed-tensors-int4-groups": Golden(
        "int-packed", _compressed("pack-quantized", type="int", num_bits=4, strategy="group", group_size=32)
    ),
    "compressed-tensors-int4-groups-zero-points": Golden(
        "int-packed", _compressed("pack-quantized", type="int", num_bits=4, strategy="group", group_size=32)
    ),
    "compressed-tensors-int8": Golden(
        "int8", _compressed("int-quantized", type="int", num_bits=8, strategy="channel")
    ),
    "compressed-tensors-int8-groups": Golden(
        "int-packed", _compressed("pack-quantized", type="int", num_bits=8, strategy="group", group_size=32)
    ),
    "compressed-tensors-mxfp4": Golden(
        "mxfp4", _compressed("mxfp4-pack-quantized", type="float", num_bits=4, strategy="group", group_size=32)
    ),
    "compressed-tensors-mxfp8": Golden(
        "mxfp8", _compressed("mxfp8-quantized", type="float", num_bits=8, strategy="group", group_size=32)
    ),
    "compressed-tensors-nvfp4": Golden(
        "nvfp4",
        _compressed("nvfp4-pack-quantized", type="float", num_bits=4, strategy="tensor_group", group_size=16),
    ),
    "gptqmodel-int2": Golden("gptq", {**_GPTQ, "bits": 2}),
    "gptqmodel-int4": Golden("gptq", {**_GPTQ, "bits": 4}),
    "gptqmodel-int4-zero-points": Golden("gptq", {**_GPTQ, "bits": 4, "desc_act": True}),
    "gptqmodel-int8": Golden("gptq", {**_GPTQ, "bits": 8}),
    "nvidia-modelopt-fp8-blocks-uneven": Golden("fp8-block", _fp8(16, 32)),
    "nvidia-modelopt-fp8-tensor": Golden("fp8-tensor", {"quant_method": "modelopt", "quant_algo": "FP8"}),
    "nvidia-modelopt-int4-rows": Golden("int4-modelopt", {"quant_method": "modelopt", "quant_algo": "W4A16_AWQ"}),
    "nvidia-modelopt-mxfp8": Golden("mxfp8", {"quant_method": "modelopt", "quant_algo": "MXFP8"}),
    "nvidia-modelopt-nvfp4": Golden("nvfp4", {"quant_method": "modelopt", "quant_algo": "NVFP4"}),
    "nvidia-modelopt-nvfp4-experts": Golden("nvfp4", {"quant_method": "modelopt", "quant_algo": "NVFP4"}),
    "torchao-float8": Golden("torchao", {"quant_method": "torchao"}),
    "torchao-int4-groups": Golden("torchao", {"quant_method": "torchao"}),
    "torchao-int8": Golden("torchao", {"quant_method": "torchao"}),
    "transformers-fp4-bytes": Golden("mxfp4", {"quant_method": "fp8"}),
    "transformers-fp8-blocks": Golden("fp8-block", _fp8(32, 16)),
    "transformers-fp8-blocks-experts": Golden("fp8-block", _fp8(16, 32)),
    "transformers-fp8-blocks-ue8m0": Golden("fp8-block", _fp8(32, 16)),
    "transformers-mxfp4-blocks": Golden("mxfp4", {"quant_method": "mxfp4"}),
}


PRODUCERS = (
    "transformers", "compressed-tensors", "nvidia-modelopt", "bitsandbytes", "torchao", "gptqmodel", "autoawq",
)  # fmt: skip


def inventory_of(name: str) -> Inventory:
    """The golden file's header as the inventory of a checkpoint."""
    tensors = tuple(info for info in read_header(Folder(GOLDEN), f"{name}.safetensors") if info.name != "expected")
    config = {"architectures": ["X"], "quantization_config": GOLDENS[name].settings}
    return Inventory(Source(name, "folder", name), config, TensorTable(tensors, "headers"))


def stored_of(name: str) -> Stored:
    inventory = inventory_of(name)
    stored = derive_stored(inventory, classify(inventory), ())
    assert stored is not None
    return stored


def render(stored: Stored, folder: Path) -> None:
    """`hook.py` and `script.py` of one checkpoint."""
    context = {
        **words(stored),
        "year": 2026,
        "title": "X",
        "stem": "x",
        "model_id": "o/x",
        "script": "d.py",
        "shared": [],
    }
    renderer = Renderer(data_dir("templates") / "megatron_bridge")
    texts = {
        "hook.py": renderer.render("dequantize/module.py.j2", context),
        "script.py": renderer.render("dequantize/script.py.j2", context),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in format_many(texts, Style()).items():
        (folder / file).write_text(text)


@pytest.fixture(scope="module")
def results(lane: LaneSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("goldens")
    for name in GOLDENS:
        render(stored_of(name), folder / name)
        shutil.copyfile(GOLDEN / f"{name}.safetensors", folder / name / "golden.safetensors")
    return lane.call("dequantise", {"cases": {name: str(folder / name) for name in GOLDENS}})


def test_every_golden_file_has_its_row() -> None:
    assert {path.stem for path in GOLDEN.glob("*.safetensors")} == set(GOLDENS)


@pytest.mark.parametrize("name", GOLDENS)
def test_the_header_of_a_real_tensor_tells_its_format(name: str) -> None:
    found = classify(inventory_of(name)).quantisation
    assert found is not None
    assert found.format == GOLDENS[name].format


@pytest.mark.parametrize("name", GOLDENS)
def test_what_a_library_quantised_comes_out_as_it_dequantises_it(name: str, results: dict[str, Any]) -> None:
    result, golden = results[name], GOLDENS[name]
    assert result["shape"]
    assert result["exact"] if golden.error == 0 else result["worst"] <= golden.error


@pytest.mark.parametrize("name", GOLDENS)
def test_script_and_hook_agree_and_nothing_quantised_is_left(name: str, results: dict[str, Any]) -> None:
    result = results[name]
    assert result["hook"] is True or result["hook"] <= 4e-3  # rounded to bfloat16 at another point
    assert len(result["names"]) == 1
    assert "quantization_config" not in result["config"]


@pytest.mark.parametrize("producer", PRODUCERS)
def test_the_library_still_makes_the_same_tensors(producer: str, tmp_path: Path) -> None:
    libraries = os.environ.get("SCAFFOLD_QUANTISERS")
    if not libraries:
        pytest.skip("SCAFFOLD_QUANTISERS names no folder with the libraries, one folder each")
    lane = find_lane()
    assert lane is not None
    command = [str(lane.python), str(GOLDEN / "make.py"), producer, str(tmp_path)]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(Path(libraries) / producer)}, check=True)
    made = {path.name: path.read_bytes() for path in tmp_path.glob("*.safetensors")}
    assert made == {name: (GOLDEN / name).read_bytes() for name in made}
    assert made


class Mutant(NamedTuple):
    """A mistake in the arithmetic, and a case that must show it."""

    golden: str
    before: str
    after: str


MUTANTS = (
    Mutant("transformers-fp8-blocks", "repeat_interleave(block_size[1]", "repeat_interleave(block_size[0]"),
    Mutant("compressed-tensors-fp8-blocks-uneven", "values[part], factor)", "values[part], factors[0, 0])"),
    Mutant("transformers-fp8-blocks", "factor * 256.0", "factor * 128.0"),
    Mutant("transformers-fp8-blocks", ".bitwise_and_(~0x4000)", ""),
    Mutant("nvidia-modelopt-nvfp4", "* 0x00200200", "* 0x00400200"),
    Mutant("nvidia-modelopt-nvfp4", "mul_(0x01001000)", "mul_(0x01000800)"),
    Mutant("nvidia-modelopt-nvfp4", "2.0**14", "2.0**13"),
    Mutant("nvidia-modelopt-nvfp4", "_times_float8(scale, factor)", "_times_float8(scale, factor * 2)"),
    Mutant("compressed-tensors-nvfp4", ".div_(divisor)", ".mul_(divisor)"),
    Mutant("compressed-tensors-mxfp4", "float8_e8m0fnu).float()", "float8_e8m0fnu).float() * 2"),
    Mutant("transformers-mxfp4-blocks", "return weight.transpose(-1, -2).contiguous()", "return weight"),
    Mutant("compressed-tensors-int4-groups", "2 ** (bits - 1)", "2**bits"),
    Mutant("compressed-tensors-int4-groups", "1024 + 2", "1023 + 2"),
    Mutant("compressed-tensors-int8-groups", ".float().add_(1024.0)", ".float()"),
    Mutant("compressed-tensors-int4-groups", "0x000F000F", "0x0007000F"),
    Mutant("compressed-tensors-int4-groups-zero-points", "if zero_point is not None:", "if False:"),
    Mutant("gptqmodel-int4", "STORED_ZERO = 1", "STORED_ZERO = 0"),
    Mutant("gptqmodel-int4-zero-points", "g_idx.long()", "g_idx.sort().values.long()"),
    Mutant("gptqmodel-int4", ".add_(1024.0)", ""),
    Mutant("autoawq-int4", ".bitwise_and_(0xF)", ".bitwise_and_(0x7)"),
    Mutant("autoawq-int4", "add_(2.0**23)", "add_(2.0**23 + 1)"),
    Mutant("autoawq-int4", "(0, 2, 4, 6, 1, 3, 5, 7)", "(0, 1, 2, 3, 4, 5, 6, 7)"),
    Mutant("bitsandbytes-nf4", "[codes >> 4, codes & 0xF]", "[codes & 0xF, codes >> 4]"),
    Mutant("bitsandbytes-nf4-nested", ' + told["nested_offset"]', ""),
    Mutant("bitsandbytes-int8", "127.0", "128.0"),
    Mutant("nvidia-modelopt-int4-rows", "dim=-2).flatten(-3, -2)", "dim=-1).flatten(-2)"),
    Mutant("torchao-int8", "factors[part])", "factors[:1])"),
)


def test_each_mistake_in_the_arithmetic_is_seen(lane: LaneSession, tmp_path: Path) -> None:
    for number, mutant in enumerate(MUTANTS):
        folder = tmp_path / str(number)
        render(stored_of(mutant.golden), folder)
        for file in ("hook.py", "script.py"):
            text = (folder / file).read_text()
            assert mutant.before in text, mutant
            (folder / file).write_text(text.replace(mutant.before, mutant.after))
        shutil.copyfile(GOLDEN / f"{mutant.golden}.safetensors", folder / "golden.safetensors")
    cases = {str(number): str(tmp_path / str(number)) for number in range(len(MUTANTS))}
    results = lane.call("dequantise", {"cases": cases})
    unseen = [mutant for number, mutant in enumerate(MUTANTS) if results[str(number)].get("worst", 1.0) < 1e-3]
    assert not unseen


def test_the_broadcast_of_inverse_scales_is_nowhere() -> None:
    for path in (data_dir("templates") / "megatron_bridge" / "dequantize").rglob("*.j2"):
        assert not re.search(r"weight\w*(\.\w+\(\))? \* \w*scale_inv", path.read_text()), path


def test_the_versions_that_made_a_tensor_are_in_its_file() -> None:
    for path in GOLDEN.glob("*.safetensors"):
        size = int.from_bytes(path.read_bytes()[:8], "little")
        header = json.loads(path.read_bytes()[8 : 8 + size])
        assert "torch" in json.loads(header["__metadata__"]["made"])
