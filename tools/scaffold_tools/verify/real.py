"""Real weights, where they lie in the model's folder: what both models write on from a prompt, as text.

Rule: every file of weights is there with its data, nothing is quantised, and one model in fp32 (the two are not held
at once) takes at most two thirds of the memory that is free. A tokenizer has to lie there too.
"""

from __future__ import annotations

import json
import math
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaffold_tools.errors import BadInput
from scaffold_tools.verify.evidence import Check
from scaffold_tools.verify.lane import LaneJobFailed, LaneSession
from scaffold_tools.verify.run import Integration

NAME = "generation.real"
TOY = "real weights"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")
PROMPT = "The capital of France is"
SHARE = 2 / 3
"""Of free memory that a model may take."""
LARGEST_HEADER = 100_000_000
BLOCK = 512
"""Bytes of `st_blocks`."""


@dataclass(frozen=True)
class Weights:
    """Weights that lie in a folder."""

    numbers: int
    missing: str = ""
    """Why they cannot be used; "" where they can."""


def find_weights(folder: Path) -> Weights | None:
    """What lies there; None where there is no file of weights at all."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return None
    numbers = 0
    for file in files:
        try:
            found = _numbers(file)
        except (OSError, ValueError) as error:
            return Weights(0, f"{file.name} cannot be read: {error}")
        if found is None:
            return Weights(0, f"{file.name} holds headers and no data")
        numbers += found
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        named = set(json.loads(index.read_text(encoding="utf-8")).get("weight_map", {}).values())
        if lost := sorted(str(name) for name in named - {file.name for file in files}):
            return Weights(numbers, f"{lost[0]} is not there")
    if not any((folder / name).is_file() for name in TOKENIZERS):
        return Weights(numbers, "no tokenizer lies beside them")
    return Weights(numbers)


def _numbers(file: Path) -> int | None:
    """How many numbers a file holds; None where it is shorter than its header says, or a hole."""
    status = file.stat()
    with file.open("rb") as data:
        (length,) = struct.unpack("<Q", data.read(8))
        if length > LARGEST_HEADER:
            raise ValueError("a header of that length is none")
        header = json.loads(data.read(length))
    tensors = [row for name, row in header.items() if name != "__metadata__"]
    end = max((row["data_offsets"][1] for row in tensors), default=0)
    whole = status.st_size >= 8 + length + end and status.st_blocks * BLOCK >= end // 2
    return sum(math.prod(row["shape"]) for row in tensors) if whole else None


def free_memory() -> int | None:
    """Bytes that a process can still have; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return None if found is None else int(found) * 1024


def verify_real(
    lane: LaneSession,
    integration: Integration,
    folder: Path,
    *,
    config: dict[str, Any],
    architecture: str,
    prompt: str = PROMPT,
    trust_remote_code: bool = False,
    timeout: float = 900,
    memory: int | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> Check | None:
    """Let both models write on, greedily; None where the folder has no weights.

    Args:
        lane: where it runs.
        integration: what is verified.
        folder: the model's own folder.
        config: its raw config.json.
        architecture: the Hugging Face class.
        prompt: what is written on from.
        trust_remote_code: whether code of the folder may run.
        timeout: seconds.
        memory: bytes that are free; None: asked of the system.
        on_progress: told in one line what runs.

    Raises:
        EnvironmentLacks: the lane is missing.
    """
    weights = find_weights(folder)
    if weights is None:
        return None
    free = memory if memory is not None else free_memory()
    why = weights.missing or ("they are quantised" if config.get("quantization_config") else "")
    if not why and free is not None and weights.numbers * 4 > SHARE * free:
        needed, there = weights.numbers * 4 / SHARE / 1e9, free / 1e9
        why = f"needs {needed:.1f} GB of memory, {there:.1f} are free"
    if why:
        return Check(NAME, "skipped", detail=why, toy=TOY)
    if not prompt:
        raise BadInput("there is nothing to write on from", hint="give a prompt")
    with tempfile.TemporaryDirectory(prefix="scaffold-real-") as scratch:
        request = {
            "integration": integration.as_request(),
            "architecture": architecture,
            "model_folder": str(folder.resolve()),
            "prompt": prompt,
            "trust_remote_code": trust_remote_code,
            "workdir": scratch,
        }
        try:
            answer = lane.call("real", request, timeout=timeout, on_progress=on_progress)
        except LaneJobFailed as error:
            return Check(NAME, "error", detail=error.what, toy=TOY)
    return Check(**answer["checks"][0])
