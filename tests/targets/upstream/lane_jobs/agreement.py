"""A lane job: one toy through the bridge that Megatron-Bridge has for it and through a generated one, side by side."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from mcore.build import build_megatron, fill_with_nan, forward, prepare_process, tensors_of
from mcore.integration import class_name, register
from mcore.no_cuda import OnCpu, neutralise
from toys import toy


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Compare them by meaning.

    Args:
        request: `workdir`, `config` (raw), `architecture`, `path` and `package` of the generated integration;
            `repair`, names of `REPAIRS` with which upstream's model is built once more.

    Returns:
        `bridges` (two names), `tensors` ({Megatron's name: "equal" | "differs" | "upstream alone" | "ours alone" |
        "equal to <our name>"}), `attributes` ({name: [upstream's, ours]} of provider fields that differ once
        finalized), `logits` (largest difference from Hugging Face's, of both), `repaired` (upstream's, with the
        repairs).
    """
    neutralise()
    prepare_process(Path(request["workdir"]))
    folder = Path(request["workdir"]) / "toy"
    small = toy.prepare(request["config"], "a")
    model, _ = toy.build(small)
    toy.randomise(model, seed=3)
    model.save_pretrained(folder)
    vocabulary = model.get_input_embeddings().weight.shape[0]
    tokens = torch.randint(0, vocabulary, (2, 24), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        wanted = model(input_ids=tokens, use_cache=False).logits.float()
    sides = [_through(folder, tokens, wanted, vocabulary)]
    repair = request.get("repair") or ()
    repaired = _through(folder, tokens, wanted, vocabulary, repair)["logits"] if repair else None
    register({"kind": "package", "path": request["path"], "module": request["package"]}, request["architecture"])
    sides.append(_through(folder, tokens, wanted, vocabulary))
    theirs, ours = sides
    return {
        "bridges": [theirs["bridge"], ours["bridge"]],
        "tensors": {name: _compared(name, theirs["tensors"], ours["tensors"]) for name in _names(theirs, ours)},
        "attributes": {
            name: [theirs["attributes"][name], ours["attributes"][name]]
            for name in sorted(set(theirs["attributes"]) & set(ours["attributes"]))
            if theirs["attributes"][name] != ours["attributes"][name]
        },
        "logits": [theirs["logits"], ours["logits"]],
        "repaired": repaired,
    }


def _set_eps(model: Any, ends: tuple[str, ...], eps: float) -> None:
    for name, part in model.named_modules():
        if name.endswith(ends):
            part.eps = eps


REPAIRS: dict[str, tuple[Callable[[Any, Any], None], Callable[[Any, Any], None]]] = {
    "the model's epsilon on norms after attention and MLP": (
        lambda provider, config: None,
        lambda model, config: _set_eps(model, ("post_layernorm",), config.rms_norm_eps),
    ),
    "the epsilon that the code writes out on norms of latents": (
        lambda provider, config: None,
        lambda model, config: _set_eps(model, ("linear_q_up_proj", "linear_kv_up_proj"), 1e-6),
    ),
    "the rotary type of the config": (
        lambda provider, config: setattr(provider, "rope_type", "rope"),
        lambda model, config: None,
    ),
}
"""What upstream would have to do: on its provider before the model is built, and on the model after."""


class _Repaired:
    """A bridge whose provider is changed before a model is built from it."""

    def __init__(self, bridge: Any, repair: Sequence[str]) -> None:
        self.bridge, self.repair = bridge, repair

    def to_megatron_provider(self, **kwargs: Any) -> Any:
        provider = self.bridge.to_megatron_provider(**kwargs)
        for name in self.repair:
            REPAIRS[name][0](provider, self.bridge.hf_pretrained.config)
        return provider


def _through(
    folder: Path, tokens: torch.Tensor, wanted: torch.Tensor, vocabulary: int, repair: Sequence[str] = ()
) -> dict[str, Any]:
    from megatron.bridge import AutoBridge

    bridge = AutoBridge.from_hf_pretrained(str(folder))
    model, provider, _ = build_megatron(_Repaired(bridge, repair))
    for name in repair:
        REPAIRS[name][1](model, bridge.hf_pretrained.config)
    fill_with_nan(model)
    with OnCpu():
        bridge.load_hf_weights([model])
    difference = (forward(model, tokens, vocabulary) - wanted).abs().max()
    return {
        "bridge": class_name(type(bridge._model_bridge)),
        "tensors": {name: tensor.detach().clone() for name, tensor in tensors_of(model).items()},
        "attributes": {
            field.name: _described(getattr(provider, field.name)) for field in dataclasses.fields(provider)
        },
        "logits": float(difference),
    }


def _names(theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    return sorted(set(theirs["tensors"]) | set(ours["tensors"]))


def _compared(name: str, theirs: dict[str, torch.Tensor], ours: dict[str, torch.Tensor]) -> str:
    if name not in ours:
        twin = [one for one, value in ours.items() if one not in theirs and torch.equal(value, theirs[name])]
        return f"equal to {twin[0]}" if len(twin) == 1 else "upstream alone"
    if name not in theirs:
        return "ours alone"
    return "equal" if torch.equal(theirs[name], ours[name]) else "differs"


def _described(value: Any) -> Any:
    """A value as JSON; functions by name."""
    if isinstance(value, functools.partial):
        return f"partial({_described(value.func)}, {value.args}, {value.keywords})"
    if callable(value) and hasattr(value, "__qualname__"):
        return value.__qualname__
    if isinstance(value, (list, tuple)):
        return [_described(one) for one in value]
    return value if isinstance(value, (int, float, str, bool, type(None))) else str(value)
