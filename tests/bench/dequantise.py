"""How fast the generated script is, beside plain reading and writing of the same bytes: `make bench-dequant`.

Writes docs/dequantise-speed.json, from which `make docs` writes the table of docs/quantised.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tools"), str(ROOT / "tests")]

Shape = Callable[[int, int], list[int]]
WIDTH = {"F8_E4M3": 1, "U8": 1, "I32": 4, "F32": 4, "BF16": 2, "F16": 2, "I64": 8}
ROWS, COLUMNS = 4096, 14336


class Form(NamedTuple):
    """The parts of one weight: name -> (dtype, shape, the bytes that are repeated)."""

    format: str
    parts: dict[str, tuple[str, Shape, bytes]]


_SMALL = struct.pack("<f", 0.01)
_BYTES = bytes(range(1, 120))
FORMS = (
    Form(
        "fp8-block",
        {
            "weight": ("F8_E4M3", lambda rows, columns: [rows, columns], _BYTES),
            "weight_scale_inv": ("F32", lambda rows, columns: [rows // 128, columns // 128], _SMALL),
        },
    ),
    Form(
        "fp8-channel",
        {
            "weight": ("F8_E4M3", lambda rows, columns: [rows, columns], _BYTES),
            "weight_scale": ("F32", lambda rows, columns: [rows, 1], _SMALL),
        },
    ),
    Form(
        "nvfp4",
        {
            "weight": ("U8", lambda rows, columns: [rows, columns // 2], bytes(range(256))),
            "weight_scale": ("F8_E4M3", lambda rows, columns: [rows, columns // 16], _BYTES),
            "weight_scale_2": ("F32", lambda rows, columns: [], _SMALL),
        },
    ),
    Form(
        "mxfp4",
        {
            "weight_packed": ("U8", lambda rows, columns: [rows, columns // 2], bytes(range(256))),
            "weight_scale": ("U8", lambda rows, columns: [rows, columns // 32], bytes(range(110, 124))),
        },
    ),
    Form(
        "int-packed",
        {
            "weight_packed": ("I32", lambda rows, columns: [rows, columns // 8], bytes(range(256))),
            "weight_scale": ("BF16", lambda rows, columns: [rows, columns // 128], b"\x10\x3c"),
            "weight_shape": ("I64", lambda rows, columns: [2], struct.pack("<qq", ROWS, COLUMNS)),
        },
    ),
    Form(
        "gptq",
        {
            "qweight": ("I32", lambda rows, columns: [columns // 8, rows], bytes(range(256))),
            "qzeros": ("I32", lambda rows, columns: [columns // 128, rows // 8], b"\x77"),
            "scales": ("F16", lambda rows, columns: [columns // 128, rows], b"\x10\x20"),
        },
    ),
    Form(
        "awq",
        {
            "qweight": ("I32", lambda rows, columns: [columns, rows // 8], bytes(range(256))),
            "qzeros": ("I32", lambda rows, columns: [columns // 128, rows // 8], b"\x77"),
            "scales": ("F16", lambda rows, columns: [columns // 128, rows], b"\x10\x20"),
        },
    ),
)


def write_source(form: Form, folder: Path, weights: int) -> None:
    """A checkpoint of one file with that many weights of one shape."""
    entries: dict[str, Any] = {}
    data: list[tuple[bytes, int]] = []
    end = 0
    for index in range(weights):
        for part, (dtype, shape, pattern) in form.parts.items():
            size = WIDTH[dtype] * math.prod(shape(ROWS, COLUMNS))
            name = f"model.layers.{index}.mlp.up_proj.{part}"
            entries[name] = {"dtype": dtype, "shape": shape(ROWS, COLUMNS), "data_offsets": [end, end + size]}
            data.append((pattern, size))
            end += size
    header = json.dumps(entries).encode()
    folder.mkdir(parents=True)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for pattern, size in data:
            file.write((pattern * (size // len(pattern) + 1))[:size])
    (folder / "config.json").write_text("{}")


def render_script(form: Form, path: Path) -> None:
    """The script that would be generated for this checkpoint."""
    from classify.layouts import inventory
    from scaffold_tools.blueprint.stored import derive_stored
    from scaffold_tools.classify.model import classify
    from scaffold_tools.paths import data_dir
    from scaffold_tools.render import Renderer
    from scaffold_tools.targets.megatron_bridge.quantised.words import words

    layout = {
        f"model.layers.{index}.mlp.up_proj.{part}": (dtype, shape(ROWS, COLUMNS))
        for index in range(2)
        for part, (dtype, shape, _) in form.parts.items()
    }
    given = inventory({"architectures": ["X"]}, layout)
    stored = derive_stored(given, classify(given), ())
    assert stored is not None
    assert [group.format for group in stored.groups] == [form.format]
    told = {"year": 2026, "title": "X", "stem": "x", "model_id": "o/x", "script": path.name}
    renderer = Renderer(data_dir("templates") / "megatron_bridge")
    path.write_text(renderer.render("dequantize/script.py.j2", {**words(stored), **told}))


def measure(form: Form, folder: Path, weights: int, times: int) -> dict[str, Any]:
    """Seconds of both, the best of `times` turns, and what that makes."""
    from scaffold_tools.verify.lane_env import ensure_lane

    lane = ensure_lane(install=False)
    write_source(form, folder / "source", weights)
    render_script(form, folder / "dequant_x.py")
    job = Path(__file__).with_name("measure_copy.py")
    load = os.getloadavg()[0]
    command = [lane.python, job, folder / "dequant_x.py", folder / "source", folder / "copy", times]
    environ = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run([str(word) for word in command], env=environ, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    plain, script = min(found["seconds"]["plain"]), min(found["seconds"]["script"])
    return {
        "format": form.format,
        "read_gb": found["read"] / 1e9,
        "written_gb": found["written"] / 1e9,
        "plain_gb_s": (found["read"] + found["written"]) / plain / 1e9,
        "script_gb_s": (found["read"] + found["written"]) / script / 1e9,
        "share": plain / script,
        "plain_cpu_s": min(found["processor"]["plain"]),
        "script_cpu_s": min(found["processor"]["script"]),
        "cores": found["cores"],
        "load": load,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to measure")
    parser.add_argument("--weights", type=int, default=16, help="weights of 59 million numbers each")
    parser.add_argument("--times", type=int, default=8, help="turns, of which the best counts")
    parser.add_argument("--format", action="append", help="only these")
    parser.add_argument("--write", action="store_true", help="into docs/dequantise-speed.json")
    asked = parser.parse_args()
    rows = []
    for form in FORMS:
        if asked.format and form.format not in asked.format:
            continue
        with tempfile.TemporaryDirectory(dir=asked.folder) as scratch:
            rows.append(measure(form, Path(scratch), asked.weights, asked.times))
        print(json.dumps(rows[-1]), flush=True)
    if asked.write:
        (ROOT / "docs" / "dequantise-speed.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
