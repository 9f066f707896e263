"""Toys: tiny models of the same architecture whose every size, scalar and weight is nobody's default.

`shrink_config` is pure Python; `complete`, `build` and `randomise` need torch and transformers.

Two variants, `a` and `b`, differ in every size and every scalar, so a number that an integration hard-codes cannot be
right for both. Structural keys (flags, activation, layer kinds, rope type) are the model's own.
"""

from __future__ import annotations

import copy
import json
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from toys.layers import chosen_layers, layer_count, truncate_layers
from toys.rope import head_dim_of, partial_share, shrink_rope
from toys.rows import (
    DROPPED,
    GLOBAL_HEAD_DIM,
    GLOBAL_HEAD_DIM_KEYS,
    HEAD_DIM,
    HEAD_DIM_KEYS,
    HEAD_KEYS,
    INTEGER_SCALARS,
    KEPT,
    KV_KEYS,
    LANGUAGE_CONFIGS,
    LAYER_KEYS,
    SEQUENCE_LENGTH,
    TOKEN_ID,
    USUAL_SIZES,
    WIDTH_OF_TEXT_KEYS,
    ZEROED,
    Sizes,
    heads_by_layer,
    is_int,
    linear_blocks,
    linked_sizes,
    scalar_row,
    size_row,
    state_space_heads,
    width_of_head,
)

__all__ = ["SEQUENCE_LENGTH", "build", "complete", "prepare", "randomise", "sanitise", "shrink_config", "tokens"]


def sanitise(config: dict[str, Any]) -> dict[str, Any]:
    """A raw config.json without the keys that could make transformers run code or pick kernels."""
    kept = {}
    for key, value in config.items():
        if key == "auto_map" or str(key).startswith("_"):
            continue
        kept[str(key)] = sanitise(value) if isinstance(value, dict) else value
    return kept


class _Canaries:
    """Hands out values near a given one, each at most once a config."""

    def __init__(self, variant: str) -> None:
        self.variant = variant
        self.used: set[float] = set()

    def near(self, value: float) -> float:
        """A value within 25% of `value` (first brought into 0.01 .. 100), not used before; a share stays one."""
        sane = math.copysign(min(max(abs(value), 0.01), 100.0), value)
        for step in range(200):
            share = 0.07 + 0.013 * (step % 14) + 0.0007 * (step // 14)
            sign = 1 if (step % 2 == 0) == (self.variant == "a") else -1
            found = round(sane * (1 + sign * share), 6)
            if 0 < value < 1 <= found:  # a share of something
                continue
            if self.take(found):
                return found
        raise ValueError(f"no canary left near {value}")

    def row(self, value: float) -> float:
        """The value of a row, moved a little where another key already has it."""
        for step in range(200):
            if self.take(found := round(value * (1 + 0.23 * step), 6)):
                return found
        raise ValueError(f"no canary left near {value}")

    def take(self, value: float) -> bool:
        if value in self.used:
            return False
        self.used.add(value)
        return True


def shrink_config(config: dict[str, Any], variant: str = "a", sizes: Sizes | None = None) -> dict[str, Any]:
    """The toy's config: structure kept, sizes shrunk, every scalar a canary.

    Args:
        config: a raw config.json (it is sanitised first); nested `text_config` and towers are shrunk too.
        variant: `a` or `b`.
        sizes: heads of the toy; the usual ones by default.
    """
    if variant not in ("a", "b"):
        raise ValueError(f"variant is 'a' or 'b', not {variant!r}")
    return _shrink(sanitise(config), variant, _Canaries(variant), False, sizes or USUAL_SIZES[0])


def _shrink(
    config: dict[str, Any], variant: str, canaries: _Canaries, tower: bool, sizes: Sizes = USUAL_SIZES[0]
) -> dict[str, Any]:
    toy = {key: value for key, value in config.items() if key not in DROPPED}
    indices: list[int] = []
    if not tower:
        indices = chosen_layers(config, variant, sizes.layers_multiple)
        toy |= truncate_layers(config, indices)
        toy |= _heads(config, variant, sizes) | linear_blocks(config, variant)
    done = (
        {*LAYER_KEYS, *HEAD_KEYS, *KV_KEYS, *HEAD_DIM_KEYS, *GLOBAL_HEAD_DIM_KEYS, "qk_head_dim"}
        if not tower
        else set()
    )
    for key in toy:
        if key not in done:
            toy[key] = _shrunk_value(key, toy[key], variant, canaries, tower)
    toy |= linked_sizes(config, toy)
    toy |= heads_by_layer(config, toy) if not tower else {}
    toy |= _token_ids(toy)
    rotary = _partial_rotary(config, toy, variant, sizes) if not tower else {}
    toy |= rotary
    toy |= shrink_rope(config, toy, variant, canaries, tower)
    toy |= _nested(config, variant, canaries, sizes)
    return toy


def _shrunk_value(key: str, value: Any, variant: str, canaries: _Canaries, tower: bool) -> Any:
    if isinstance(value, dict) and not key.startswith("rope_") and not key.endswith("_config"):
        return {name: _shrunk_value(name, item, variant, canaries, tower) for name, item in value.items()}
    if value is None or isinstance(value, (bool, str, dict)):
        return value
    if isinstance(value, list):
        row = size_row(key, tower)
        if row is not None and value and all(map(is_int, value)):  # one size a layer: equal ones stay equal
            sizes = sorted(set(value))
            return [row.value(variant, item) + 8 * sizes.index(item) for item in value]
        numbers = bool(value) and all(isinstance(item, float) for item in value) and not KEPT.fullmatch(key)
        return [_canary(key, item, variant, canaries) for item in value] if numbers else value
    row = size_row(key, tower)
    if row is not None and is_int(value) and value > 0:
        return row.value(variant, value)
    return _canary(key, value, variant, canaries)


def _canary(key: str, value: Any, variant: str, canaries: _Canaries) -> Any:
    if ZEROED.fullmatch(key) and not isinstance(value, str):
        return 0 if is_int(value) else 0.0  # a field may be declared int, and its class strict
    row = scalar_row(key) if math.isfinite(value) else None
    if row is not None and value:
        found = canaries.row(row.a if variant == "a" else row.b)
        return round(found) if row.integer else found
    if KEPT.fullmatch(key) or not math.isfinite(value):
        return value
    scalar = isinstance(value, float) or INTEGER_SCALARS.fullmatch(key) is not None
    return canaries.near(float(value)) if scalar and value else value


def _heads(config: dict[str, Any], variant: str, sizes: Sizes) -> dict[str, Any]:
    """Head counts (grouped, multi-query or plain, as in the model) and explicit head sizes."""
    changed: dict[str, Any] = {}
    heads, groups = sizes.heads[variant]
    real_heads = next((config[key] for key in HEAD_KEYS if is_int(config.get(key))), None)
    for key in HEAD_KEYS:
        if is_int(config.get(key)):
            changed[key] = heads
    for key in KV_KEYS:
        real = config.get(key)
        if is_int(real):
            changed[key] = heads if real == real_heads else 1 if real == 1 else groups
    latent = is_int(config.get("kv_lora_rank"))
    rope_row = size_row("qk_rope_head_dim", False)
    for key in HEAD_DIM_KEYS:
        if is_int(config.get(key)):
            own = width_of_head(config, variant, heads) if sizes.head_dim_is_quotient else HEAD_DIM[variant]
            changed[key] = rope_row.value(variant, 2) if latent and rope_row else own
    changed |= state_space_heads(config, variant)
    for key in GLOBAL_HEAD_DIM_KEYS:
        if is_int(config.get(key)):
            changed[key] = GLOBAL_HEAD_DIM[variant]
    if is_int(config.get("qk_head_dim")):
        parts = (size_row("qk_nope_head_dim", False), size_row("qk_rope_head_dim", False))
        changed["qk_head_dim"] = sum(part.value(variant, 2) for part in parts if part)
    return changed


def _partial_rotary(config: dict[str, Any], toy: dict[str, Any], variant: str, sizes: Sizes) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    head_dim = head_dim_of(toy)
    for key in ("partial_rotary_factor", "rotary_pct", "rotary_percent", "rope_pct"):
        if isinstance(config.get(key), (int, float)) and config[key]:
            own = float(config[key])
            changed[key] = own if sizes.rotary_kept else partial_share(head_dim, own, variant)
    if is_int(config.get("rotary_dim")) and config["rotary_dim"] > 0:
        whole = config["rotary_dim"] >= head_dim_of(config)
        changed["rotary_dim"] = round(head_dim * partial_share(head_dim, 1.0 if whole else 0.5, variant))
    return changed


def _token_ids(toy: dict[str, Any]) -> dict[str, Any]:
    """Every token id at or above the toy's vocabulary becomes one below it, counted down from the last."""
    vocab = toy.get("vocab_size")
    if not is_int(vocab):
        vocab = size_row("vocab_size", False).value("a", 2)  # type: ignore[union-attr]
    changed: dict[str, Any] = {}
    following = vocab - 1
    for key, value in toy.items():
        if not TOKEN_ID.fullmatch(key):
            continue
        ids = value if isinstance(value, list) else [value]
        if not all(is_int(item) for item in ids):
            continue
        kept = []
        for item in ids:
            kept.append(item if item < vocab else following)
            following -= item >= vocab
        changed[key] = kept if isinstance(value, list) else kept[0]
    return changed


def _nested(config: dict[str, Any], variant: str, canaries: _Canaries, sizes: Sizes) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict) and key.endswith("_config") and key not in DROPPED:
            changed[key] = _shrink(value, variant, canaries, key not in LANGUAGE_CONFIGS, sizes)
    text = next((changed[key] for key in LANGUAGE_CONFIGS if key in changed), None)
    width = text.get("hidden_size") if text else None
    for nested in changed.values():
        nested.update(_of_siblings(nested, changed))
    for name, nested in changed.items():
        if name in LANGUAGE_CONFIGS or not width:
            continue
        nested.update({key: width for key in WIDTH_OF_TEXT_KEYS if is_int(nested.get(key))})
        if isinstance(nested.get("deepstack_visual_indexes"), list) and nested["deepstack_visual_indexes"]:
            nested["deepstack_visual_indexes"] = [0]
    return changed


def _of_siblings(nested: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    """Sizes that repeat one of another part: `hidden_size_global` is the `hidden_size` of `global_config`."""
    found = {}
    for key in nested:
        for name, part in parts.items():
            own = key.removesuffix("_" + name.removesuffix("_config"))
            if own != key and is_int(part.get(own)):
                found[key] = part[own]
    return found


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
