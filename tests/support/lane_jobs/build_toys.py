"""Builds both toys of default configs and runs them; returns what was seen, for each model type."""

from __future__ import annotations

from typing import Any

import torch
from toys import toy
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES


def run(request: dict[str, Any]) -> dict[str, Any]:
    """For each of `configs` (name → raw config; an empty one means the class's defaults), what each variant does."""
    return {name: [_variant(name, raw, variant) for variant in "ab"] for name, raw in request["configs"].items()}


def _variant(name: str, raw: dict[str, Any], variant: str) -> dict[str, Any]:
    if "model_type" not in raw:
        raw = CONFIG_MAPPING[name](**raw).to_dict() | {"architectures": [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[name]]}
    config = toy.prepare(raw, variant)
    model, hf_config = toy.build(config)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    toy.randomise(model, seed=0)
    left = [key for key, tensor in model.state_dict().items() if torch.equal(tensor, before[key])]
    tokens = toy.tokens(config, variant, seed=0)
    with torch.no_grad():
        logits = model(tokens, use_cache=False).logits
    return {
        "class": type(model).__name__,
        "left_at_its_default": left,
        "spread": float(logits.std()),
        "finite": bool(torch.isfinite(logits).all()),
        "layer_types": sorted(set(getattr(hf_config, "layer_types", None) or [])),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "config": config,
    }
