"""A lane job: the generated script in the situations that a real download and a real machine bring."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from dequantise import load
from safetensors.torch import load_file, save_file

Tensors = dict[str, torch.Tensor]
NAME = "model.layers.{}.mlp.up_proj.weight"


def weight(rows: int = 40, columns: int = 56) -> tuple[torch.Tensor, torch.Tensor]:
    codes = torch.randn(rows, columns).to(torch.float8_e4m3fn)
    return codes, torch.rand(-(-rows // 16), -(-columns // 24)) + 0.1


def checkpoint(folder: Path, shards: dict[str, Tensors], config: dict[str, Any] | None = None) -> Path:
    folder.mkdir(parents=True)
    for file, tensors in shards.items():
        save_file(tensors, folder / file)
    index = {name: file for file, tensors in shards.items() for name in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / "config.json").write_text(json.dumps(config or {"quantization_config": {}, "torch_dtype": "float8"}))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "hf_quant_config.json").write_text("{}")
    return folder


def three_shards(folder: Path) -> Path:
    shards: dict[str, Tensors] = {}
    for number in range(3):
        codes, scale = weight()
        shards[f"model-{number}.safetensors"] = {
            NAME.format(number): codes,
            f"{NAME.format(number)}_scale_inv": scale,
            f"model.layers.{number}.norm.weight": torch.ones(8, dtype=torch.bfloat16),
        }
    return checkpoint(folder, shards)


def refused(run: Callable[[], Any]) -> str:
    try:
        run()
    except (ValueError, FileNotFoundError) as error:
        return str(error)
    return ""


def whole(script: ModuleType, folder: Path) -> dict[str, Any]:
    source = three_shards(folder / "source")
    script.convert(source, folder / "copy", workers=2)
    index = json.loads((folder / "copy" / "model.safetensors.index.json").read_text())
    sizes = sum(
        tensor.nbytes for path in (folder / "copy").glob("*.safetensors") for tensor in load_file(path).values()
    )
    return {
        "files": sorted(path.name for path in (folder / "copy").iterdir()),
        "names": sorted(index["weight_map"]),
        "total": index["metadata"]["total_size"] == sizes,
        "config": json.loads((folder / "copy" / "config.json").read_text()),
        "dtypes": sorted(
            {str(tensor.dtype) for tensor in load_file(folder / "copy" / "model-0.safetensors").values()}
        ),
    }


def resumed(script: ModuleType, folder: Path) -> dict[str, Any]:
    """Killed in the second shard; then a source that was downloaded again."""
    source, copy = three_shards(folder / "source"), folder / "copy"
    original, written = script.ShardWriter.close, []

    def close(writer: Any) -> None:
        if writer.path.name == "model-1.safetensors":
            raise KeyboardInterrupt
        original(writer)

    script.ShardWriter.close = close
    with contextlib.suppress(KeyboardInterrupt):
        script.convert(source, copy)
    left = sorted(path.name for path in copy.iterdir())
    script.ShardWriter.close = lambda writer: (written.append(writer.path.name), original(writer))[1]
    script.convert(source, copy)
    again = list(written)
    written.clear()
    shutil.copyfile(source / "model-2.safetensors", source / "other")
    (source / "other").replace(source / "model-2.safetensors")
    script.convert(source, copy)
    script.ShardWriter.close = original
    return {"left": left, "again": again, "changed": written, "end": sorted(path.name for path in copy.iterdir())}


def apart(script: ModuleType, folder: Path) -> dict[str, Any]:
    """Scales in another shard than their values."""
    codes, scale = weight()
    name = NAME.format(0)
    shards = {"a.safetensors": {name: codes}, "b.safetensors": {f"{name}_scale_inv": scale}}
    script.convert(checkpoint(folder / "source", shards), folder / "copy")
    wide = scale.repeat_interleave(16, 0)[:40].repeat_interleave(24, 1)[:, :56]
    found = load_file(folder / "copy" / "a.safetensors")[name]
    return {
        "equal": torch.equal(found, (codes.float() * wide).bfloat16()),
        "files": sorted(path.name for path in (folder / "copy").glob("*.safetensors")),
    }


def damaged(script: ModuleType, folder: Path) -> dict[str, Any]:
    codes, scale = weight()
    name = NAME.format(0)
    whole = {name: codes, f"{name}_scale_inv": scale}
    infinite = {**whole, f"{name}_scale_inv": torch.full_like(scale, float("nan"))}
    values = codes.clone()
    values.view(torch.uint8)[0, 0] = 0x7F
    negative = codes.clone()
    negative.view(torch.uint8)[-1, -1] = 0xFF
    cases = {
        "scales lost": {name: codes},
        "scales of another shape": {name: codes, f"{name}_scale_inv": scale[:1].clone()},
        "scales are NaN": infinite,
        "a value is NaN": {**whole, name: values},
        "a value is NaN with a sign": {**whole, name: negative},
        "integers of nothing known": {**whole, "model.other": torch.zeros(4, dtype=torch.int32)},
    }
    told = {}
    for number, (kind, tensors) in enumerate(cases.items()):
        source = checkpoint(folder / str(number), {"model-0.safetensors": tensors})
        told[kind] = refused(lambda source=source: script.convert(source, folder / "copy" / source.name))
    source = checkpoint(folder / "outside", {"model-0.safetensors": whole})
    index = source / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: "../../etc/model.safetensors"}}))
    told["a shard outside"] = refused(lambda: script.convert(source, folder / "copy" / "x"))
    index.write_text(json.dumps({"weight_map": {name: "gone.safetensors"}}))
    told["a shard that is missing"] = refused(lambda: script.convert(source, folder / "copy" / "y"))
    return told


def anonymous_kb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


def memory(script: ModuleType, folder: Path) -> dict[str, Any]:
    """Peak of memory while a shard of 24 weights is written, in bytes of one weight as it is written."""
    name, one = NAME, 1024 * 2048
    tensors: Tensors = {}
    for number in range(24):
        tensors[name.format(number)] = torch.full((1024, 2048), 3, dtype=torch.uint8).view(torch.float8_e4m3fn)
        tensors[f"{name.format(number)}_scale_inv"] = torch.ones(64, 86)
    source = checkpoint(folder / "source", {"model-0.safetensors": tensors})
    del tensors
    before, peak, done = anonymous_kb(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, anonymous_kb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    script.convert(source, folder / "copy", workers=1)
    done.set()
    watcher.join()
    return {"weights": max(0, peak - before) * 1024 / (2 * one), "shard": 24}


def reused(script: ModuleType, folder: Path) -> dict[str, Any]:
    """Weights of several sizes whose results take each other's memory."""
    tensors: Tensors = {}
    expected: Tensors = {}
    for number in range(24):
        name = NAME.format(number)
        codes, scale = weight(48 if number % 3 else 32, 72 + number % 2)
        tensors |= {name: codes, f"{name}_scale_inv": scale}
        wide = scale.repeat_interleave(16, 0).repeat_interleave(24, 1)[: len(codes), : codes.shape[1]]
        expected[name] = (codes.float() * wide).bfloat16()
    source = checkpoint(folder / "source", {"model-0.safetensors": tensors})
    script.convert(source, folder / "copy", workers=2)
    found = load_file(folder / "copy" / "model-0.safetensors")
    wrong = [name for name, tensor in expected.items() if not torch.equal(found[name], tensor)]
    return {"wrong": wrong, "spare": len(script.SPARE)}


def taken(script: ModuleType, folder: Path) -> dict[str, Any]:
    """The same, with memory given away before it is written."""
    right = script.dequantized

    def early(*args: Any) -> Iterator[Any]:
        found = []
        for weight, tensor, size in right(*args):
            script.SPARE.append(tensor.untyped_storage())
            found.append((weight, tensor, size))
        yield from found

    script.dequantized = early  # type: ignore[attr-defined]
    try:
        return reused(script, folder)
    finally:
        script.dequantized = right  # type: ignore[attr-defined]


SCENES = {
    **{"whole": whole, "resumed": resumed, "apart": apart, "damaged": damaged, "memory": memory},
    **{"reused": reused, "taken": taken},
}


def run(request: dict[str, Any]) -> dict[str, Any]:
    folder = Path(request["folder"])
    torch.manual_seed(0)
    sys.dont_write_bytecode = True
    script = load(folder / "script.py")
    return {name: scene(script, folder / name) for name, scene in SCENES.items()}
