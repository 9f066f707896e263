"""A lane job: rendered dequantising code on tensors that libraries made, against what these dequantise them to."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file


def run(request: dict[str, Any]) -> dict[str, Any]:
    return {name: _guarded(Path(folder)) for name, folder in request["cases"].items()}


def _guarded(folder: Path) -> dict[str, Any]:
    try:
        return _case(folder)
    except (ValueError, RuntimeError, IndexError) as error:
        return {"error": str(error)}


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _case(folder: Path) -> dict[str, Any]:
    stored = load_file(folder / "golden.safetensors")
    expected = stored.pop("expected")
    source = folder / "source"
    source.mkdir(exist_ok=True)
    save_file(stored, source / "model.safetensors")
    (source / "config.json").write_text(json.dumps({"quantization_config": {}, "torch_dtype": "float16"}))
    name = "proj" if "proj_blocks" in stored else "proj.weight"
    hook = load(folder / "hook.py").load_dequantized(name, stored)
    script = load(folder / "script.py")
    script.convert(source, folder / "copy", expected.dtype)
    with safe_open(folder / "copy" / "model.safetensors", framework="pt") as copy:
        names, written = list(copy.keys()), copy.get_tensor(name)
    wide = expected.float()
    return {
        "names": names,
        "shape": list(written.shape) == list(expected.shape),
        "exact": torch.equal(written, expected),
        "worst": float((written.float() - wide).abs().max() / wide.abs().max()),
        "hook": torch.equal(hook, written.to(torch.bfloat16))
        or float((hook.float() - wide).abs().max() / wide.abs().max()),
        "ratio": float(written.float().std() / wide.std()),
        "config": json.loads((folder / "copy" / "config.json").read_text()),
    }
