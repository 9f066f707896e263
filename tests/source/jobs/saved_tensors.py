"""Job for tests: what `save_pretrained` really writes for a small config, read back by safetensors itself."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from toys import toy


def run(request: dict[str, Any]) -> dict[str, Any]:
    """`saved`: rows of name, shape, dtype on disk. `in_memory`: the names of the state dict."""
    from safetensors import safe_open

    config = request["config"]
    model, _ = toy.build(config, dtype=config.get("dtype", "float32"))
    saved = []
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        for path in sorted(Path(folder).glob("*.safetensors")):
            with safe_open(path, "pt") as file:
                for name in file.keys():  # noqa: SIM118  # a method of safetensors, not a dict
                    view = file.get_slice(name)
                    saved.append({"name": name, "shape": list(view.get_shape()), "dtype": view.get_dtype()})
    return {"saved": saved, "in_memory": sorted(model.state_dict())}
