"""The job that lists what transformers calls a causal language model, and measures which of them is one.

Request `{"action": "list"}`: every entry of `MODEL_FOR_CAUSAL_LM_MAPPING_NAMES` with its class.
Request `{"action": "describe", "model_type": str}`: a raw config.json of the class's defaults, what had to be filled
in so that it builds, and what a toy of it does with tokens. Nothing here decides anything: the reasons why an entry is
not a decoder are rows of `scaffold.matrix.kinds`, over these observations.
"""

from __future__ import annotations

import inspect
import json
import traceback
from typing import Any

import torch
from tensor_table import _build_on_meta, on_disk
from toys.repairs import repaired
from toys.toy import SEQUENCE_LENGTH, build, load_config, prepare, randomise, sanitise, tokens

DROPPED = ("transformers_version", "_name_or_path", "id2label", "label2id")
"""Keys of a config object that say nothing of the model."""
PUBLISHED = ("tie_word_embeddings",)
"""Keys of every config that publishers write out."""
NOISE = 1e-5
"""Relative to the largest logit: chunked scans round differently when a later token differs."""


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Answer a request; see the module's docstring."""
    if request["action"] == "list":
        return {"types": [{"model_type": name, "architecture": cls} for name, cls in mapping().items()]}
    return describe(request["model_type"])


def mapping() -> dict[str, str]:
    """model_type to class name."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as names

    return {name: cls if isinstance(cls, str) else cls[0] for name, cls in names.items()}


def describe(model_type: str) -> dict[str, Any]:
    """Config, repairs and observations of one type.

    Returns:
        `architecture`; `inputs`: names of what its forward pass takes;
        `config` (None where even its defaults are refused); `repairs` (lines); `problem` with `source`
        (`modeling_x.py:12`) where the class does not build; `observed` (see `observe`).
    """
    architecture = mapping()[model_type]
    answer: dict[str, Any] = {"model_type": model_type, "architecture": architecture, "config": None, "repairs": []}
    answer["inputs"] = _inputs(architecture)
    try:
        config = default_config(model_type, architecture)
        answer["config"] = config
        answer["config"], answer["repairs"] = repaired(config, lambda one: _builds(one, architecture))
    except Exception as error:  # whatever a class may raise on its own defaults
        return answer | _problem(error)
    try:
        return answer | _observed(answer["config"], answer["repairs"])
    except Exception as error:  # the toy's failure, not the model's
        return answer | {"observed": {"problem": _problem(error)}}


def _inputs(architecture: str) -> list[str]:
    """Names of what the class's forward pass takes."""
    import transformers

    return [*inspect.signature(getattr(transformers, architecture).forward).parameters]


def _observed(config: dict[str, Any], repairs: list[str]) -> dict[str, Any]:
    """Observations; what builds and does not run is repaired once more, as far as a repair helps."""
    observed = observe(config)
    if observed["takes_tokens"] is None:
        return {"observed": observed}
    try:
        config, more = repaired(config, _runs)
    except ValueError:
        return {"observed": observed}
    return {"config": config, "repairs": [*repairs, *more], "observed": observe(config)}


def _runs(config: dict[str, Any]) -> None:
    """Raises ValueError when a toy of the config does not take tokens."""
    problem = observe(config)["takes_tokens"]
    if problem is not None:
        raise ValueError(problem["problem"])


def default_config(model_type: str, architecture: str) -> dict[str, Any]:
    """The defaults of a config class, as its `save_pretrained` would write them, plus what publishers add."""
    from transformers import CONFIG_MAPPING

    values = CONFIG_MAPPING[model_type]().to_dict()
    plain: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return {"architectures": [architecture], **_without(plain), "model_type": model_type}


def _without(config: dict[str, Any]) -> dict[str, Any]:
    """Without keys that say nothing, at any depth: those of every config at the value that every config has."""
    from transformers import PretrainedConfig

    universal = PretrainedConfig().to_dict()
    kept = {}
    for key, value in config.items():
        common = key in universal and universal[key] == value and key not in PUBLISHED
        if key in DROPPED or common or (key == "model_type" and not value):
            continue
        kept[key] = _without(value) if isinstance(value, dict) else value
    return kept


def _builds(config: dict[str, Any], architecture: str) -> None:
    """Raises what transformers raises when it builds the class without memory."""
    on_disk(_build_on_meta(load_config(sanitise(config)), architecture, False))


def observe(config: dict[str, Any]) -> dict[str, Any]:
    """What a toy of the model does.

    Returns:
        `model_config_type`: model_type of the config that the built class runs on; `has_entry`: whether that one is an
        entry of its own. `takes_tokens`: None, or why a
        forward pass of token ids alone fails. `causal`: whether logits stay when only later tokens change; `leak` says
        where they do not and by how much, `repeats_within` how equal two runs on the same tokens are.
        `cross_attends`: the logits follow `encoder_hidden_states`. `finite`: the logits are numbers.
    """
    toy = prepare(config, "a")
    model, hf_config = build(toy, dtype="float32")
    _randomise_weights(model)
    ids = tokens(toy, "a", seed=7, batch=1) if "vocab_size" in _text(toy) else None
    found: dict[str, Any] = {
        "model_config_type": (runs_on := str(getattr(model.config, "model_type", ""))),
        "has_entry": runs_on in mapping(),
        "parameters": sum(tensor.numel() for tensor in model.parameters()),
    }
    if ids is None:
        ids = torch.randint(3, 40, (1, SEQUENCE_LENGTH["a"]))
    try:
        logits = _logits(model, ids)
    except Exception as error:
        return found | {"takes_tokens": _problem(error)}
    found |= {"takes_tokens": None, "finite": bool(torch.isfinite(logits).all())}
    return found | _causality(model, ids, logits) | {"cross_attends": _cross_attends(model, hf_config, ids, logits)}


def _randomise_weights(model: Any) -> None:
    """Random parameters; buffers stay, because some classes keep their causal decay tables in saved ones."""
    kept = {name: tensor.clone() for name, tensor in model.named_buffers()}
    randomise(model, seed=7)
    with torch.no_grad():
        for name, tensor in model.named_buffers():
            tensor.copy_(kept[name])


def _text(toy: dict[str, Any]) -> dict[str, Any]:
    return next((toy[key] for key in ("text_config", "decoder") if isinstance(toy.get(key), dict)), toy)


def _logits(model: Any, ids: torch.Tensor, **extra: Any) -> torch.Tensor:
    with torch.no_grad():
        answer = model(input_ids=ids, **extra, **_no_cache(model))
    logits = getattr(answer, "logits", None)
    if not isinstance(logits, torch.Tensor) or logits.shape[:2] != ids.shape:
        shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ValueError(f"no logits for each token: {shape}")
    return logits


def _no_cache(model: Any) -> dict[str, Any]:
    return {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}


def _causality(model: Any, ids: torch.Tensor, logits: torch.Tensor) -> dict[str, Any]:
    """Change the last token, then the one in the middle: what comes before must not move."""
    again = float((_logits(model, ids) - logits).abs().max())
    threshold = max(NOISE * float(logits.abs().max()), 10 * again, 1e-12)
    for place in (ids.shape[1] - 1, ids.shape[1] // 2):
        changed = ids.clone()
        changed[0, place] = changed[0, place] + 1
        moved = (_logits(model, changed) - logits)[0, :place].abs()
        if float(moved.max()) > threshold:
            first = int((moved.amax(-1) > threshold).nonzero()[0])
            leak = f"changing token {place} changes the logits of token {first} by up to {float(moved.max()):.2g}"
            return {"causal": False, "leak": leak, "repeats_within": again}
    return {"causal": True, "leak": None, "repeats_within": again}


def _cross_attends(model: Any, hf_config: Any, ids: torch.Tensor, logits: torch.Tensor) -> bool:
    if "encoder_hidden_states" not in inspect.signature(model.forward).parameters:
        return False
    widths = (getattr(hf_config, key, None) for key in ("cross_attention_hidden_size", "d_model", "hidden_size"))
    width = next(filter(None, widths), None)
    if width is None:
        return False
    states = torch.randn((1, 5, width), generator=torch.Generator().manual_seed(3))
    try:
        return bool((_logits(model, ids, encoder_hidden_states=states) - logits).abs().max() > 0)
    except Exception:  # a class that was built without cross-attention refuses them
        return False


def _problem(error: BaseException) -> dict[str, Any]:
    """The error in one line, and the line of transformers that raised it."""
    said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in frames if "/models/" in frame.filename]
    return {"problem": said, "source": lines[-1] if lines else None}
