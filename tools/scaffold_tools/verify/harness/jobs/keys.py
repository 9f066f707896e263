"""The job that asks whether an integration follows the config: keys that the Hugging Face code reads are changed.

Toys differ in every number, so a number that is ignored shows there. Flags, names, and counts that every toy has alike
do not; here each of them gets another value. Where that moves the logits of the Hugging Face class and leaves its
tensors alone, the Megatron model that is built from the changed config has to move with it. Numbers are changed all at
once, and one by one only where that disagrees.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import progress
import torch
from checks.measured import Checks, Clock
from checks.reference import Reference, make_reference, run_hf, toy_config
from echo import versions
from mcore.build import build_megatron, forward, prepare_process
from mcore.integration import class_name, register
from mcore.no_cuda import OnCpu, neutralise
from probes.config import recorded_reads, value_at, varied
from toys import toy as toys

from verify import preload

__all__ = ["preload", "run"]

ACTIVATIONS = {"silu": "gelu_pytorch_tanh"}
"""What a named activation becomes; any other becomes silu."""
NAMES = ("hidden_act", "hidden_activation", "activation_function", "hidden_activation_fn")
MOVED = 10.0
"""Times the tolerance of logits by which they have to move: less could be rounding."""
MOST = 40


@dataclass(frozen=True)
class Change:
    """Keys with other values, whose logits and no tensors differ in Hugging Face."""

    keys: tuple[str, ...]
    config: dict[str, Any]
    logits: torch.Tensor
    model: Any


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Change keys and compare.

    Args:
        request: as for the job `verify`; one toy, the first of `variants`.

    Returns:
        `bridge`, `checks` (`config.keys`), `environment`, and `keys`: what became of each one (`follows`, `ignored`,
        `differs`, `refused` by the integration, `still` where it moves nothing, `tensors` where it changes them).
    """
    neutralise()
    folder = Path(request["workdir"])
    prepare_process(folder)
    register(request["integration"], request["architecture"])
    checks, clock, scratch = Checks("canary-a"), Clock(), Checks("canary-a")
    variant = (request.get("variants") or ("a",))[0]
    config = toy_config(request, variant)
    reads: dict[str, str] = {}
    with recorded_reads(reads):
        reference = make_reference(request, variant, folder / "toy", scratch, config=config)
    found: dict[str, str] = {}
    changes = _changes(request, config, reads, reference, found)
    base = _megatron(request, folder / "toy", reference)
    picked = class_name(type(_bridge(request, folder / "toy")._model_bridge))
    if not float((base - reference.logits).abs().nan_to_num(nan=float("inf")).max()) < reference.limit:
        checks.skip(("config.keys",), "the models differ before any key is changed")
        return {"bridge": picked, "checks": checks.done, "keys": {}, "environment": versions()}
    for number, change in enumerate(_grouped(changes, config)):
        progress.say(f"changing {', '.join(change.keys[:3])}")
        place = folder / f"change-{number}"
        verdict = _verdict(request, place, change, reference, base)
        if verdict != "follows" and len(change.keys) > 1:
            single = [one for one in changes if one.keys[0] in change.keys]
            for one in single:
                found[one.keys[0]] = _verdict(request, place, one, reference, base)
            continue
        found |= dict.fromkeys(change.keys, verdict)
    wrong = sorted(f"{key} ({word})" for key, word in found.items() if word in ("ignored", "differs"))
    asked = [word for word in found.values() if word in ("follows", "refused", "ignored", "differs")]
    refused = sorted(key for key, word in found.items() if word == "refused")
    detail = "; ".join(
        part
        for part in (", ".join(wrong), f"refused in so many words: {', '.join(refused)}" if refused else "")
        if part
    )
    value = f"{len(asked) - len(wrong)}/{len(asked)}"
    checks.add("config.keys", not wrong, value=value, threshold="all", detail=detail, seconds=clock.lap())
    return {"bridge": picked, "checks": checks.done, "keys": found, "environment": versions()}


def _changes(
    request: dict[str, Any], config: dict[str, Any], reads: dict[str, str], reference: Reference, found: dict[str, str]
) -> list[Change]:
    """One change a key, where Hugging Face takes it and its logits move; what became of the others goes to `found`."""
    state = reference.model.state_dict()
    shapes = {name: tensor.shape for name, tensor in state.items()}
    changes = []
    for key in asked(config, reads)[:MOST]:
        changed = another(config, key)
        if changed is None:
            continue
        try:
            model, _ = _build(request, changed)
            if {name: tensor.shape for name, tensor in model.state_dict().items()} != shapes:
                found[key] = "tensors"  # a checkpoint that has others is another checkpoint
                continue
            model.load_state_dict(state)
            logits = run_hf(model, reference.tokens)
        except Exception:  # a value that the class refuses says nothing
            continue
        moved = float((logits - reference.logits).abs().max())
        if moved > MOVED * reference.limit and bool(torch.isfinite(logits).all()):
            changes.append(Change((key,), changed, logits, model))
        else:
            found[key] = "still"
    return changes


def asked(config: dict[str, Any], reads: dict[str, str]) -> list[str]:
    """Keys that the code reads and the toy's config has; numbers of a rope table as keys of their own."""
    keys = [key for key in reads if value_at(config, key) is not None]
    tables = {key for key in (*keys, "rope_parameters", "rope_scaling") if isinstance(config.get(key), dict)}
    inner = [f"{table}.{name}" for table in sorted(tables) for name in config[table]]
    plain = ["rope_theta"] if config.get("rope_theta") is not None else []
    return list(dict.fromkeys((*keys, *plain, *inner)))


def another(config: dict[str, Any], key: str) -> dict[str, Any] | None:
    """The toy's config with another value of one key; None where no rule gives one."""
    value = value_at(config, key)
    if key.rpartition(".")[2] in NAMES and isinstance(value, str):
        return _with(config, key, ACTIVATIONS.get(value, "silu"))
    if isinstance(value, list) and len(set(map(str, value))) > 1:  # one label a layer: the next layer's
        return _with(config, key, [*value[1:], value[0]])
    return varied(config, key, value) if not isinstance(value, str | list | dict) else None


def _with(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    head, _, rest = key.partition(".")
    return {**config, head: {**config[head], rest: value} if rest else value}


def _grouped(changes: list[Change], config: dict[str, Any]) -> list[Change]:
    """Floats of the config itself in one change, where Hugging Face takes them together; all else one by one."""
    floats = [one for one in changes if isinstance(value_at(config, one.keys[0]), float) and "." not in one.keys[0]]
    rest = [one for one in changes if one not in floats]
    if len(floats) < 2:
        return changes
    merged = dict(config)
    for one in floats:
        merged[one.keys[0]] = one.config[one.keys[0]]
    model = _like(floats[0].model, merged)
    return [Change(tuple(one.keys[0] for one in floats), merged, torch.empty(0), model), *rest]


def _like(model: Any, config: dict[str, Any]) -> Any:
    """A model of another config with the same weights."""
    other, _ = toys.build(config)
    other.load_state_dict(model.state_dict())
    return other


def _build(request: dict[str, Any], config: dict[str, Any]) -> tuple[Any, Any]:
    trusted = bool(request.get("trust_remote_code"))
    return toys.build(config, "float32", request.get("model_folder"), trusted)


def _verdict(request: dict[str, Any], folder: Path, change: Change, reference: Reference, base: torch.Tensor) -> str:
    """What Megatron makes of a changed config."""
    change.model.config.architectures = [request["architecture"]]
    change.model.save_pretrained(folder)
    wanted = run_hf(change.model, reference.tokens)
    try:
        found = _megatron(request, folder, reference)
    except Exception:  # an integration that says no is not silent
        return "refused"
    if float((found - wanted).abs().nan_to_num(nan=float("inf")).max()) < reference.limit:
        return "follows"
    return "ignored" if torch.equal(found, base) else "differs"


def _bridge(request: dict[str, Any], folder: Path) -> Any:
    from megatron.bridge import AutoBridge

    return AutoBridge.from_hf_pretrained(str(folder), trust_remote_code=bool(request.get("trust_remote_code")))


def _megatron(request: dict[str, Any], folder: Path, reference: Reference) -> torch.Tensor:
    """Logits of the Megatron model of a saved toy."""
    auto_bridge = _bridge(request, folder)
    model, _, _ = build_megatron(auto_bridge)
    with OnCpu():
        auto_bridge.load_hf_weights([model])
    return forward(model, reference.tokens, reference.logits.shape[-1])
