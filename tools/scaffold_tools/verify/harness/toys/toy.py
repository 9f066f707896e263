"""Toys: tiny models of the same architecture whose every size, scalar and weight is nobody's default.

The config of a toy is made by `toys.toy_config`; here it is completed with what the class says, built, and given
weights, which needs torch and transformers.
"""

from __future__ import annotations

import copy
import json
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from toys.layers import layer_count
from toys.rows import (
    LANGUAGE_CONFIGS,
    SEQUENCE_LENGTH,
    TOKEN_ID,
    USUAL_SIZES,
)
from toys.toy_config import sanitise, shrink_config

__all__ = ["SEQUENCE_LENGTH", "build", "complete", "prepare", "randomise", "sanitise", "shrink_config", "tokens"]


def complete(config: dict[str, Any], trust_remote_code: bool = False, folder: str | None = None) -> dict[str, Any]:
    """The raw config with the class's own defaults written out, so that shrinking sees sizes and patterns in them.

    Keys of the raw config win. Rope keys are added only where the raw config has none (the same fact under two
    names would be two canaries), and so are aliases of keys that it has.
    """
    from transformers import PretrainedConfig

    raw = sanitise(config)
    loaded = load_config(raw, trust_remote_code, folder)
    universal = {key for key in PretrainedConfig().to_dict() if not TOKEN_ID.fullmatch(key)}
    return _complete_from(raw, loaded, universal)


def _complete_from(raw: dict[str, Any], loaded: Any, universal: set[str]) -> dict[str, Any]:
    full = sanitise(loaded.to_dict())
    aliases = dict(getattr(type(loaded), "attribute_map", {}) or {})
    rope = {"rope_theta", "rope_scaling", "rope_parameters", "rope_local_base_freq", "partial_rotary_factor"}
    has_rope = any(raw.get(key) is not None for key in rope)
    added = {}
    for key, value in full.items():
        aliased = {aliases.get(key)} | {alias for alias, name in aliases.items() if name == key}
        if key in raw or key in universal or (aliased & set(raw)) or (has_rope and key in rope):
            continue
        added[key] = value
    merged = raw | added
    for key, value in raw.items():
        sub = getattr(loaded, key, None)
        if isinstance(value, dict) and key.endswith("_config") and hasattr(sub, "to_dict"):
            merged[key] = _complete_from(value, sub, universal)
    return merged


def prepare(
    config: dict[str, Any],
    variant: str,
    trust_remote_code: bool = False,
    folder: str | None = None,
    layers_multiple: int = 1,
) -> dict[str, Any]:
    """`complete`, then `shrink_config`: the toy that verification and probes use.

    Where the class refuses the usual sizes, the first of `USUAL_SIZES` that runs. A model with its own code is shrunk
    further before it is built (`toys.shrink`), so its sizes are not tried here.
    """
    full = complete(config, trust_remote_code, folder)
    tried = [replace(sizes, layers_multiple=layers_multiple) for sizes in USUAL_SIZES]
    first = shrink_config(full, variant, tried[0])
    if trust_remote_code or runs(first):
        return first
    others = (shrink_config(full, variant, sizes) for sizes in tried[1:])
    return next((one for one in others if one != first and runs(one)), first)


def runs(config: dict[str, Any]) -> bool:
    """Whether the class takes a toy's sizes: a forward pass of a few tokens."""
    import torch

    try:
        with torch.no_grad():
            build(config)[0](input_ids=torch.zeros((1, 8), dtype=torch.int64), use_cache=False)
    except Exception:  # whatever a class may raise
        return False
    return True


def load_config(config: dict[str, Any], trust_remote_code: bool = False, folder: str | None = None) -> Any:
    """The transformers config object of a sanitised config.json. No code of the model runs unless it is trusted."""
    from transformers import CONFIG_MAPPING, AutoConfig

    if trust_remote_code and folder:
        return AutoConfig.from_pretrained(folder, trust_remote_code=True, **config)
    config = sanitise(config)
    architecture = _architecture(config)
    if config.get("model_type") not in CONFIG_MAPPING and architecture is not None:
        # A name of its own for a class that transformers has (kimi_k2 for DeepseekV3ForCausalLM).
        return architecture.config_class.from_dict(
            {key: value for key, value in config.items() if key != "model_type"}
        )
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "config.json").write_text(json.dumps(config))
        return AutoConfig.from_pretrained(scratch, trust_remote_code=False)


def _architecture(config: dict[str, Any]) -> Any:
    """The transformers model class that the config names first, or None."""
    import transformers

    name = (config.get("architectures") or [None])[0]
    found = getattr(transformers, name, None) if isinstance(name, str) and name.isidentifier() else None
    return found if hasattr(found, "_from_config") and hasattr(found, "config_class") else None


def config_for(architecture: Any, hf_config: Any) -> Any:
    """The config itself, or its language part where the class is that of the language part alone."""
    text = hf_config.get_text_config()
    wanted = getattr(architecture, "config_class", None) or type(hf_config)
    return text if isinstance(text, wanted) and not isinstance(hf_config, wanted) else hf_config


def part_name(hf_config: Any, part: Any) -> str | None:
    """The attribute that holds a part of a config; None for the config itself."""
    return next((name for name in LANGUAGE_CONFIGS if getattr(hf_config, name, None) is part), None)


def config_of_class(config: dict[str, Any], trust_remote_code: bool = False, folder: str | None = None) -> Any:
    """The config object that the class of a raw config.json is built on: the whole one, or its language part."""
    hf_config = load_config(sanitise(config), trust_remote_code, folder)
    architecture = _architecture(config)
    return hf_config if architecture is None else config_for(architecture, hf_config)


def build(
    config: dict[str, Any], dtype: str = "float32", folder: str | None = None, trust_remote_code: bool = False
) -> tuple[Any, Any]:
    """The Hugging Face model (eval mode, eager attention, CPU) and its config object.

    Args:
        config: a toy's config.
        dtype: torch dtype name of the parameters.
        folder: the model's own folder, where its modeling code is (only with `trust_remote_code`).
        trust_remote_code: whether that code may run.
    """
    import torch
    import transformers

    hf_config = load_config(config, trust_remote_code, folder)
    architecture = _architecture(config)
    part = hf_config if architecture is None else config_for(architecture, hf_config)
    for one in (hf_config, part):
        one._attn_implementation = "eager"
        one._experts_implementation = "eager"  # the grouped kernel has no fp64
    options = {"dtype": getattr(torch, dtype), "attn_implementation": "eager"}
    if architecture is not None:
        model = architecture._from_config(part, **options)
    else:
        model = transformers.AutoModelForCausalLM.from_config(
            hf_config, trust_remote_code=trust_remote_code, **options
        )
    return model.eval(), hf_config


def randomise(model: Any, seed: int) -> None:
    """Every parameter and persistent float buffer gets random values of a size that keeps activations near one.

    Buffers that the class computes from its config stay: code relies on their shape (tables of decays).

    Norm weights are U(0.5, 1.5), vectors that add (biases, sinks) N(0, 1/4), router corrections N(0, 1/100), matrices
    N(0, 1/fan_in), vectors that the class draws around zero so small that products of two are N(0, 1/4), embeddings
    N(0, 4/width), which keeps the logits of tied models near one. Tied tensors are written once. Nothing else stays at
    what its class initialises.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    persistent = set(model.state_dict(keep_vars=True)) - computed_buffers(model)
    done: set[int] = set()
    with torch.no_grad():
        for module_name, module in model.named_modules():
            tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
            for name, tensor in tensors:
                full = f"{module_name}.{name}" if module_name else name
                if full not in persistent or id(tensor) in done or not tensor.is_floating_point():
                    continue
                done.add(id(tensor))
                tensor.copy_(_random_like(type(module).__name__, name, tensor, generator))


def computed_buffers(model: Any) -> set[str]:
    """Names of saved float buffers whose numbers follow from the config: not constant, and equal in a second build."""
    import torch

    saved = set(model.state_dict())
    uneven = {
        name: buffer
        for name, buffer in model.named_buffers()
        if name in saved and buffer.is_floating_point() and bool((buffer != buffer.flatten()[:1]).any())
    }
    if not uneven:
        return set()
    again = dict(type(model)(copy.deepcopy(model.config)).named_buffers())
    return {
        name
        for name, buffer in uneven.items()
        if torch.allclose(buffer.float(), again[name].float(), rtol=1e-2, atol=1e-6)  # a build may be in float64
    }


def _random_like(module: str, name: str, tensor: Any, generator: Any) -> Any:
    import torch

    lowered = module.lower()
    normal = torch.randn(tensor.shape, generator=generator, dtype=torch.float32)
    uniform = torch.rand(tensor.shape, generator=generator, dtype=torch.float32)
    if "correction" in name:  # wider than scores, it would send every token to the same experts and groups
        return normal * 0.1
    if "bias" in name or name == "sinks":
        return normal * 0.5
    if name == "A_log":  # rates of 0.05 to 0.4: a fast one makes the kernels of linear attention noisy in fp32
        return uniform * 2 - 3
    if tensor.dim() == 1 and bool(tensor.min() < 0 < tensor.max()):  # products of two stay below one, even in exp
        return normal * 0.7 * tensor.numel() ** -0.25
    if tensor.dim() <= 1:  # norm weights, skip weights, scales
        return uniform + 0.5
    if "embedding" in lowered:
        return normal * (2 / math.sqrt(tensor.shape[-1]))
    fan_in = math.prod(tensor.shape[1:]) if tensor.dim() != 3 or "conv" in lowered else tensor.shape[-1]
    return normal / math.sqrt(fan_in)


def tokens(toy: dict[str, Any], variant: str, seed: int, batch: int = 2, words: int | None = None) -> Any:
    """Random token ids [batch, sequence length], inside the vocabulary and clear of special tokens.

    `words` is the size of the vocabulary where no key that is known says it.
    """
    import torch

    text = next((toy[key] for key in LANGUAGE_CONFIGS if isinstance(toy.get(key), dict)), toy)
    generator = torch.Generator().manual_seed(seed + 1)
    return torch.randint(3, (words or text["vocab_size"]) - 12, (batch, SEQUENCE_LENGTH[variant]), generator=generator)


def number_of_layers(toy: dict[str, Any]) -> int:
    """Layers of a toy (of its language model where it is nested)."""
    text = next((toy[key] for key in LANGUAGE_CONFIGS if isinstance(toy.get(key), dict)), toy)
    found = layer_count(text)
    return found[1] if found else 0
