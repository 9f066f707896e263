"""A lane job: the core attention of a rendered package against attention written out position by position."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import torch
from mcore.build import prepare_process
from mcore.no_cuda import OnCpu, neutralise


def run(request: dict[str, Any]) -> dict[str, Any]:
    neutralise()
    prepare_process(Path(request["workdir"]))
    sys.path.insert(0, request["path"])
    package, prefix, stem = request["package"], request["prefix"], request["stem"]
    provider_class = getattr(importlib.import_module(f"{package}.{stem}_provider"), f"{prefix}ModelProvider")
    attention_class = getattr(importlib.import_module(f"{package}.modeling_{stem}"), f"{prefix}CoreAttention")
    config = provider_class(
        num_layers=2, hidden_size=48, num_attention_heads=6, num_query_groups=request["groups"], kv_channels=8,
        attention_dropout=0.0, use_cpu_initialization=True, params_dtype=torch.float32, **request["settings"],
    )  # fmt: skip
    generator = torch.Generator().manual_seed(7)
    queries, keys, batch = request["queries"], request["keys"], 2
    query = torch.randn(queries, batch, 6, 8, generator=generator) * 2
    key, value = (torch.randn(keys, batch, request["groups"], 8, generator=generator) for _ in range(2))
    mask = None
    if request["left_padding"]:
        hidden = torch.arange(keys)[None, :] < torch.tensor([[0], [request["left_padding"]]])
        mask = hidden[:, None, None, :]
    with OnCpu(), torch.no_grad():
        config.finalize()
        from megatron.core.process_groups_config import ProcessGroupCollection
        from megatron.core.transformer.enums import AttnMaskType

        attention = attention_class(
            config, request["layer"], AttnMaskType.causal, "self", softmax_scale=0.31,
            pg_collection=ProcessGroupCollection.use_mpu_process_groups(),
        )  # fmt: skip
        found = attention(query, key, value, mask)
    wanted = torch.zeros(queries, batch, 6, 8)
    for b in range(batch):
        for head in range(6):
            group = head // (6 // request["groups"])
            for i in range(queries):
                position = i + keys - queries
                first = 0 if request["window"] is None else max(0, position - request["window"] + 1)
                seen = [j for j in range(first, position + 1) if mask is None or not bool(mask[b, 0, 0, j])]
                if not seen:
                    wanted[i, b, head] = float("nan")
                    continue
                scores = torch.stack([query[i, b, head] @ key[j, b, group] for j in seen]) * 0.31
                if request["cap"]:
                    scores = request["cap"] * torch.tanh(scores / request["cap"])
                if request["alibi"]:
                    scores = scores + _slopes()[head] * torch.tensor([float(j - position) for j in seen])
                weights = torch.softmax(scores, 0)
                wanted[i, b, head] = sum(w * value[j, b, group] for w, j in zip(weights, seen, strict=True))
    found = found.view(queries, batch, 6, 8)
    defined = ~wanted.isnan()
    return {
        "finite": bool(found.isfinite().all()),
        "difference": float((found - wanted)[defined].abs().max()),
        "undefined": int((~defined).sum()),
    }


def _slopes() -> list[float]:
    """Slopes of transformers' own implementation for six heads."""
    from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

    return (build_mpt_alibi_tensor(6, 4)[:, 0, 2] / -1.0).tolist()
