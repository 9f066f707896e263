"""Runs in the lane's Python: the generated script beside plain reading and writing of the same bytes, in turns.

python measure_copy.py SCRIPT SOURCE TARGET REPETITIONS
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import shutil
import sys
import time
from pathlib import Path
from types import ModuleType

CHUNK = 16 << 20


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def plain(source: Path, target: Path, sizes: dict[str, int]) -> None:
    """Read every byte of the source, and write as many as the copy has, file by file; on the disk when it returns."""
    target.mkdir(parents=True, exist_ok=True)
    buffer = bytearray(CHUNK)
    view = memoryview(buffer)
    for name, size in sizes.items():
        with (source / name).open("rb", buffering=0) as reading:
            while reading.readinto(view):
                pass
        with (target / name).open("wb", buffering=0) as writing:
            for start in range(0, size, CHUNK):
                writing.write(view[: min(CHUNK, size - start)])
            os.fsync(writing.fileno())


def forget(folder: Path) -> None:
    """Drop a folder from the page cache: a real checkpoint is larger than the memory, and comes from the disk."""
    os.sync()
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    script, source, target, times = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    run = load(script).main
    sys.argv = [str(script), str(source), str(target)]

    def convert() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            run()

    convert()
    sizes = {path.name: path.stat().st_size for path in sorted(target.glob("*.safetensors"))}
    shutil.rmtree(target)
    found: dict[str, list[float]] = {"plain": [], "script": []}
    processor: dict[str, list[float]] = {"plain": [], "script": []}
    for _ in range(times):
        for kind in found:
            forget(source)
            started, busy = time.monotonic(), time.process_time()
            if kind == "plain":
                plain(source, target, sizes)
            else:
                convert()
            found[kind].append(time.monotonic() - started)
            processor[kind].append(time.process_time() - busy)
            shutil.rmtree(target)
    read = sum((source / name).stat().st_size for name in sizes)
    told = {
        "read": read,
        "written": sum(sizes.values()),
        "cores": len(os.sched_getaffinity(0)),
        "seconds": found,
        "processor": processor,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
