"""A lane job: cosines of a rendered rotary embedding against those of the Hugging Face class, at several lengths."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import torch
from mcore.build import prepare_process
from mcore.no_cuda import OnCpu, neutralise
from toys.toy import load_config


def run(request: dict[str, Any]) -> dict[str, Any]:
    neutralise()
    prepare_process(Path(request["workdir"]))
    sys.path.insert(0, request["path"])
    package, prefix, stem = request["package"], request["prefix"], request["stem"]
    provider_class = getattr(importlib.import_module(f"{package}.{stem}_provider"), f"{prefix}ModelProvider")
    modeling = importlib.import_module(f"{package}.modeling_{stem}")
    hf_config = load_config(request["config"])
    hf_module = importlib.import_module(type(hf_config).__module__.replace("configuration", "modeling"))
    hf_class = getattr(hf_module, request["hf_class"])
    differences = {}
    for length in request["lengths"]:
        theirs = hf_class(hf_config)
        cos, _ = theirs(torch.zeros(1, length, 8), torch.arange(length)[None])
        with OnCpu():
            config = provider_class(
                num_layers=1, hidden_size=hf_config.hidden_size, num_attention_heads=hf_config.num_attention_heads,
                kv_channels=hf_config.head_dim, rope_parameters=dict(hf_config.rope_parameters),
                max_position_embeddings=request["believed_length"] or hf_config.max_position_embeddings,
                use_cpu_initialization=True,
            )  # fmt: skip
            angles = getattr(modeling, f"{prefix}RotaryEmbedding")(config)(length)
            _, factor = getattr(modeling, f"{stem}_rope_frequencies")(config)
        differences[str(length)] = float((torch.cos(angles[:, 0, 0]) * factor - cos[0]).abs().max())
    return differences
