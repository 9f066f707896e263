"""`scaffold inspect` as a user runs it: what it prints, what it never imports, how long it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Scaffold, files_in, run
from support.processor_time import stays_below
from support.safetensors_bytes import with_header

CONFIGS = Path(__file__).resolve().parent.parent / "data" / "configs"
FOLDERS = sorted(CONFIGS.iterdir())
LIMIT = 0.3
"""Seconds of the whole process on a local folder, of which it waits for nothing."""
HEAVY = {"torch", "transformers", "huggingface_hub", "pydantic", "httpx2", "jinja2", "libcst", "megatron", "numpy"}

_INSPECT = "import sys\nfrom scaffold.cli import main\nmain(['inspect', *sys.argv[1:]])"
_WATCH = """
import sys
from scaffold.cli import run
code = run(sys.argv[1:])
heavy = sorted({name.split(".")[0] for name in sys.modules} & set(%r))
print(",".join(heavy), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_local_folder_takes_less_than_the_limit(folder: Path) -> None:
    assert stays_below(LIMIT, _INSPECT, str(folder))


def test_the_clock_sees_a_process_that_is_too_slow() -> None:
    """By so much that it does on a fast machine too."""
    assert not stays_below(LIMIT, "sum(range(60_000_000))\n" + _INSPECT, str(FOLDERS[0]), tries=1)


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["table", "json"])
@pytest.mark.parametrize("folder", FOLDERS[:3], ids=lambda folder: folder.name)
def test_no_heavy_module_is_imported_for_a_local_folder(folder: Path, form: tuple[str, ...]) -> None:
    assert _heavy_imports("inspect", str(folder), *form) == ""


def test_the_watch_sees_an_import() -> None:
    """Negative control: the same command in a process that did import one."""
    code = _WATCH % sorted(HEAVY)
    watched = subprocess.run(
        [sys.executable, "-c", "import pydantic\n" + code, "inspect", str(FOLDERS[0]), "--json"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "pydantic" in watched.stderr


def _heavy_imports(*args: str) -> str:
    code = _WATCH % sorted(HEAVY)
    watched = subprocess.run([sys.executable, "-c", code, *args], check=True, capture_output=True, text=True)
    return watched.stderr.strip().splitlines()[-1] if watched.stderr.strip() else ""


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_json_is_one_object_with_the_classification(scaffold: Scaffold, folder: Path) -> None:
    ran = scaffold("inspect", folder, "--json")
    assert ran.code == 0, ran.err
    assert set(ran.json) == {"source", "classification"}
    found = ran.json["classification"]
    assert found["modality"] in ("llm", "vlm")
    assert found["claims"][0]["evidence"]
    assert ran.err == ""


def test_json_reads_back_as_the_classification(scaffold: Scaffold) -> None:
    from scaffold_tools.classify.model import Classification
    from scaffold_tools.jsonio import loads, to_jsonable

    text = json.dumps(scaffold("inspect", FOLDERS[0], "--json").json["classification"])
    assert to_jsonable(loads(Classification, text)) == json.loads(text)


def test_the_table_says_what_and_why(scaffold: Scaffold) -> None:
    out = scaffold("inspect", CONFIGS / "deepseek-ai--DeepSeek-V3").out
    for said in ("moe", "mla", "mtp", "kv_lora_rank = 512", "fp8-block", "128x128", "auto_map", "first 3 layers"):
        assert said in out, said


def test_a_quantised_model_is_shown_with_its_way_out(scaffold: Scaffold) -> None:
    for folder in ("deepseek-ai--DeepSeek-V3", "nvidia--Qwen3-235B-A22B-NVFP4", "openai--gpt-oss-20b"):
        assert "dequantises on import" in " ".join(scaffold("inspect", CONFIGS / folder).out.split())
    assert "way out" not in scaffold("inspect", CONFIGS / "Qwen--Qwen3-8B").out


def test_a_format_that_nothing_undoes_has_another_way_out(scaffold: Scaffold, tmp_path: Path) -> None:
    config = json.loads((CONFIGS / "Qwen--Qwen3-8B" / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "vptq"}}))
    out = " ".join(scaffold("inspect", tmp_path).out.split())
    assert "with the library that" in out
    assert "dequantises on import" not in out


def test_inspect_writes_nothing(scaffold: Scaffold, workdir: Path) -> None:
    assert scaffold("inspect", FOLDERS[0]).code == 0
    assert files_in(workdir) == set()


def test_markup_and_control_characters_of_a_config_stay_text(scaffold: Scaffold, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    config = json.loads((CONFIGS / "Qwen--Qwen3-8B" / "config.json").read_text(encoding="utf-8"))
    config |= {"evil": "[bold red]\x1b[31m\x07[/nope]", "[link=x]key[/link]": 1}
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    ran = scaffold("inspect", model)
    assert ran.code == 0, ran.err
    assert "[bold red]" in ran.out
    assert "\x1b" not in ran.out
    assert "\x07" not in ran.out


def test_an_encoder_decoder_is_described_and_not_refused(scaffold: Scaffold, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"is_encoder_decoder": True, "vocab_size": 9, "d_model": 4}))
    ran = scaffold("inspect", model, "--json")
    assert (ran.code, ran.json["classification"]["modality"]) == (0, "encoder-decoder")


def test_a_checkpoint_of_real_size_is_read_from_its_headers(tmp_path: Path) -> None:
    """Eight billion weights with no data on disk: tied, dense and counted by what the headers say."""
    config = json.loads((CONFIGS / "Qwen--Qwen3-8B" / "config.json").read_text(encoding="utf-8"))
    shapes = {"model.embed_tokens.weight": (151936, 4096), "model.norm.weight": (4096, 1)}
    for layer in range(36):
        shapes[f"model.layers.{layer}.self_attn.q_proj.weight"] = (4096, 4096)
        shapes[f"model.layers.{layer}.mlp.down_proj.weight"] = (4096, 12288)
        shapes[f"model.layers.{layer}.input_layernorm.weight"] = (4096, 1)
    folder = _sparse(tmp_path / "model", config, shapes)
    found = run("inspect", folder, "--json", cwd=tmp_path).json["classification"]
    assert found["parameters"] == sum(rows * columns for rows, columns in shapes.values())
    assert found["tied"] is True
    assert [item["subject"] for item in found["disagreements"]] == ["tied"]


def _sparse(folder: Path, config: dict[str, Any], shapes: dict[str, tuple[int, int]]) -> Path:
    """A BF16 checkpoint whose data is a hole in the file."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    header, end = {}, 0
    for name, (rows, columns) in shapes.items():
        start, end = end, end + 2 * rows * columns
        header[name] = {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [start, end]}
    head = with_header(json.dumps(header).encode())
    with (folder / "model.safetensors").open("wb") as file:
        file.write(head)
        file.truncate(len(head) + end)
    return folder
