"""The Hugging Face side: a toy with logits worth comparing, saved the way a checkpoint is."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from toys import toy as toys
from toys.own_scalars import with_own_scalars
from toys.reach import reach_clamps
from toys.rows import LANGUAGE_CONFIGS
from toys.shrink import shrink_unknown, vocabulary

from checks.measured import Checks, Clock
from checks.tolerances import DEGENERATE_STD, LOGITS_MAX_ABS, NOISE_LIMIT, logits_limit

WINDOW_KEYS = ("sliding_window", "sliding_window_size", "window_size", "attention_window_size", "attention_chunk_size")


@dataclass
class Reference:
    """A toy on disk and what it computes."""

    folder: Path
    config: dict[str, Any]
    tokens: torch.Tensor
    """[batch, sequence]"""
    logits: torch.Tensor
    """[batch, sequence, vocabulary], fp32"""
    model: Any
    """The Hugging Face model, in memory."""
    limit: float = LOGITS_MAX_ABS
    """How far logits may be off."""


def make_reference(
    request: dict[str, Any], variant: str, folder: Path, checks: Checks, config: dict[str, Any] | None = None
) -> Reference:
    """Build, randomise, run and save the toy; records `reference.reach` and `reference.noise`.

    `config` is the toy's where it is not that of the variant; tokens are the variant's all the same.
    """
    clock = Clock()
    trusted = bool(request.get("trust_remote_code"))
    source = request.get("model_folder")
    seed = int(request.get("seed", 0))
    config = toy_config(request, variant) if config is None else config
    model, hf_config = toys.build(config, "float32", source, trusted)
    toys.randomise(model, seed)
    hf_config.architectures = [request["architecture"]]
    tokens = toys.tokens(config, variant, seed, words=vocabulary(model) if trusted else None)
    reach_clamps(model, lambda: run_hf(model, tokens))
    _reach(config, tokens, checks)
    logits = run_hf(model, tokens)
    model.save_pretrained(folder)
    if model.config is not hf_config:  # published configs are whole, also where the class takes a part of one
        hf_config.save_pretrained(folder)
    if trusted and source:
        _bring_code(Path(source), folder, request["config"])
    noise = _noise(model, tokens, logits, checks, clock)
    return Reference(folder, config, tokens, logits, model, logits_limit(noise, float(logits.std())))


def toy_config(request: dict[str, Any], variant: str) -> dict[str, Any]:
    """The config of a toy: the one that the probe uses, too."""
    trusted, source = bool(request.get("trust_remote_code")), request.get("model_folder")
    raw = {**request["config"], "architectures": [request["architecture"]]}
    multiple = int(request.get("layers_multiple", 1))
    config = toys.prepare(raw, variant, trusted, source, multiple)
    if request.get("own_scalars"):
        config = with_own_scalars(config, toys.complete(raw, trusted, source))
    if not trusted:
        return config

    def build(one: dict[str, Any]) -> Any:
        return toys.build(one, "float32", source, trusted)[0]

    return shrink_unknown(config, raw, variant, build, multiple)


def _bring_code(source: Path, folder: Path, raw: dict[str, Any]) -> None:
    """The model's own code lies beside its checkpoint, and the config says so."""
    for code in source.glob("*.py"):
        shutil.copyfile(code, folder / code.name)
    if raw.get("auto_map"):
        saved = folder / "config.json"
        saved.write_text(json.dumps(json.loads(saved.read_text()) | {"auto_map": raw["auto_map"]}, indent=2))


def run_hf(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Logits of a Hugging Face model, without cache."""
    with torch.no_grad():
        return model(input_ids=tokens, use_cache=False).logits


def _reach(config: dict[str, Any], tokens: torch.Tensor, checks: Checks) -> None:
    """The sequence is longer than every window and original length, or neither would be seen; it fits the maximum.

    Dynamic rope is the exception: it stretches beyond the maximum, so the sequence must too.
    """
    text = next((config[key] for key in LANGUAGE_CONFIGS if isinstance(config.get(key), dict)), config)
    short = [text[key] for key in WINDOW_KEYS if isinstance(text.get(key), int)] + list(_original_lengths(text))
    longest, maximum = max(short, default=0), text.get("max_position_embeddings") or tokens.shape[1]
    length = tokens.shape[1]
    detail = f"windows and original lengths up to {longest}, maximum {maximum}"
    rope = text.get("rope_scaling") or text.get("rope_parameters") or {}
    stretches = "dynamic" in (rope.get("rope_type"), rope.get("type"))
    fits = maximum < length if stretches else length <= maximum
    checks.add("reference.reach", longest < length and fits, value=length, threshold=longest, detail=detail)


def _original_lengths(value: Any) -> list[int]:
    """Every original context length in a config, at any depth."""
    if not isinstance(value, dict):
        return []
    found = [value[key] for key in ("original_max_position_embeddings",) if isinstance(value.get(key), int)]
    return found + [length for item in value.values() for length in _original_lengths(item)]


def _noise(model: Any, tokens: torch.Tensor, logits: torch.Tensor, checks: Checks, clock: Clock) -> float | None:
    """How far fp32 alone moves the logits, and whether they have anything to say."""
    spread = float(logits.std())
    finite = bool(torch.isfinite(logits).all())
    detail = f"standard deviation of logits {spread:.3g}"
    try:
        wide = run_hf(copy.deepcopy(model).double(), tokens)
        noise: float | None = float((wide - logits).abs().max())
    except RuntimeError as error:  # the modeling code fixes dtypes; parity itself does not need this figure
        noise, detail = None, f"{detail}; fp64 does not run: {' '.join(str(error).split())[:160]}"
    quiet = noise is None or noise < NOISE_LIMIT
    passed = finite and spread > DEGENERATE_STD and quiet
    checks.add("reference.noise", passed, value=noise, threshold=NOISE_LIMIT, detail=detail, seconds=clock.lap())
    return noise
