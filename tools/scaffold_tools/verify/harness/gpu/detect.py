"""Prints, as one line of JSON, what this Python can do on a GPU."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from typing import Any

PACKAGES = ("torch", "transformers", "megatron-core", "megatron-bridge", "transformer-engine", "pytest")


def detect() -> dict[str, Any]:
    """GPUs by name, versions, and whether Transformer Engine is installed."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {
        "gpus": [torch.cuda.get_device_name(number) for number in range(count)],
        "cuda": torch.version.cuda,
        "transformer_engine": importlib.util.find_spec("transformer_engine") is not None,
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    print(json.dumps(detect()))
