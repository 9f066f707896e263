"""Job `tensor_table`: the tensors that a checkpoint of this config has on disk, from the class that transformers has.

The class is built at its real size on the meta device (no memory, no weights). What `save_pretrained` would do to the
state dict is then done to the meta tensors: drop keys that are never saved, drop tied copies, undo the renaming and
fusing that transformers 5 does on load. So the names are those of a published checkpoint (`experts.3.w1.weight`), not
those in memory (`experts.gate_up_proj`).

Runs in the lane's Python; imports nothing of ours outside this folder.
"""

from __future__ import annotations

import re
from typing import Any

from toys.layers import layer_count
from toys.toy import config_for, load_config, sanitise

MAX_LAYERS = 10_000
"""A module costs memory even without weights; published models have below 200 layers."""

_DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
    "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL", "complex64": "C64",
}  # fmt: skip
"""torch's spelling to that of safetensors."""


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Answer a request.

    Args:
        request: `config` (raw config.json), `architecture` (class name or None), `trust_remote_code`, `model_folder`
            (where the model's own code is, used only when trusted).

    Returns:
        `tensors`: rows of name, shape, dtype in the order of the model; `architecture`: the class that was built;
        `notes`. When the config cannot be used: `problem` and `hint` instead.
    """
    trusted = bool(request.get("trust_remote_code"))
    too_many = _too_many_layers(request["config"])
    if too_many is not None:
        return {"problem": too_many, "hint": f"at most {MAX_LAYERS:,} are built"}
    try:
        hf_config = load_config(sanitise(request["config"]), trusted, request.get("model_folder"))
        notes = _drop_quantization(hf_config)
        model = _build_on_meta(hf_config, request.get("architecture"), trusted)
    except Exception as error:  # a config can break the code of transformers (or its own) in any way
        return _problem(request, trusted, error)
    rows = [_row(name, tensor) for name, tensor in on_disk(model).items()]
    return {"tensors": rows, "architecture": type(model).__name__, "notes": notes}


def on_disk(model: Any) -> dict[str, Any]:
    """The state dict as `save_pretrained` writes it, in the order of the model; works on meta tensors.

    The steps and their order are those of `PreTrainedModel.save_pretrained` (transformers 5.12).
    """
    from transformers.core_model_loading import revert_weight_conversion

    state = model.state_dict(keep_vars=True)
    ignored = getattr(model, "_keys_to_ignore_on_save", None) or ()
    state = {name: tensor for name, tensor in state.items() if name not in ignored}
    for name in _tied_copies(model, state):
        del state[name]
    return revert_weight_conversion(model, {name: tensor.detach() for name, tensor in state.items()})


def _too_many_layers(config: dict[str, Any]) -> str | None:
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        layers = layer_count(part)
        if layers is not None and layers[1] > MAX_LAYERS:
            return f"config.json has {layers[0]} = {layers[1]:,}"
    return None


class _NoClass(Exception):
    """No class of transformers builds this config."""


def _build_on_meta(hf_config: Any, architecture: Any, trusted: bool) -> Any:
    import torch
    import transformers

    options = {"dtype": _dtype(hf_config)}
    named = getattr(transformers, architecture, None) if isinstance(architecture, str) else None
    with torch.device("meta"):
        if hasattr(named, "_from_config"):
            model = named._from_config(config_for(named, hf_config), **options)
        else:
            model = _auto_class(hf_config, trusted).from_config(hf_config, trust_remote_code=trusted, **options)
    model.tie_weights()
    return model


def _auto_class(hf_config: Any, trusted: bool) -> Any:
    """The first auto class that knows this config (or whose remote code the model names)."""
    import transformers

    remote = getattr(hf_config, "auto_map", None) or {}
    for name in ("AutoModelForCausalLM", "AutoModelForImageTextToText", "AutoModelForMultimodalLM", "AutoModel"):
        auto = getattr(transformers, name, None)
        if auto is not None and (type(hf_config) in auto._model_mapping or (trusted and name in remote)):
            return auto
    raise _NoClass(f"no class for {type(hf_config).__name__}")


def _dtype(hf_config: Any) -> Any:
    """The dtype that config.json says the weights have; a model of several parts may say it in the language part."""
    import torch

    for config in (hf_config, hf_config.get_text_config()):
        found = getattr(config, "dtype", None)
        found = getattr(torch, found, None) if isinstance(found, str) else found
        if isinstance(found, torch.dtype) and found.is_floating_point:
            return found
    return torch.float32


def _drop_quantization(hf_config: Any) -> list[str]:
    """Quantised checkpoints have other tensors (scales, packed blocks), which the class alone does not tell."""
    if getattr(hf_config, "quantization_config", None) is None:
        return []
    del hf_config.quantization_config
    return ["the derived table is that of the unquantised model: a quantised checkpoint has other tensors"]


def _tied_copies(model: Any, state: dict[str, Any]) -> list[str]:
    """Names to drop so that each tensor is saved once: those the class declares as copies, first."""
    names_of: dict[int, list[str]] = {}
    for name, tensor in state.items():
        names_of.setdefault(id(tensor), []).append(name)
    declared = [*(getattr(model, "all_tied_weights_keys", None) or {})]
    copies = []
    for names in names_of.values():
        is_copy = [name for name in names if any(name == key or re.search(key, name) for key in declared)]
        ordered = [*sorted(is_copy), *(name for name in reversed(names) if name not in is_copy)]
        copies += ordered[: len(names) - 1]
    return copies


def _row(name: str, tensor: Any) -> dict[str, Any]:
    return {"name": name, "shape": list(tensor.shape), "dtype": _DTYPES[str(tensor.dtype).removeprefix("torch.")]}


def _problem(request: dict[str, Any], trusted: bool, error: Exception) -> dict[str, Any]:
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    model_type = request["config"].get("model_type")
    own_code = isinstance(request["config"].get("auto_map"), dict)
    if (model_type in CONFIG_MAPPING or (trusted and own_code)) and not isinstance(error, _NoClass):
        said = " ".join(str(error).split())[:300]
        what = f"transformers cannot build {model_type!r} from this config: {type(error).__name__}: {said}"
        return {"problem": what, "hint": "correct config.json"}
    version = transformers.__version__
    what = f"transformers {version} does not know model_type {model_type!r}, so no tensor table can be derived"
    if own_code and not trusted:
        hint = "the model brings its own Python code: read it, then give its local folder with --trust-remote-code"
    else:
        hint = "give a repository or folder with safetensors; code of the model's own needs --trust-remote-code"
    return {"problem": what, "hint": hint}
