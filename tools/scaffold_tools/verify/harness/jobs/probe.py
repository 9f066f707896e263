"""The probe job: build the toy of an architecture, run it once, and report what it computes.

Request: {"config": raw config.json, "architecture": str, "trust_remote_code": bool, "model_folder": str | None}.
Answer: {"variants": {"a": observations, "b": observations}, "real": attributes of the real config object,
"environment": versions}. Observations are plain JSON; `scaffold_tools.blueprint.derive` turns them into a blueprint.
Each measurement stands alone: one that fails leaves an entry in `failures` and nothing else is lost.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from probes.config import attributes, effect, recorded_reads, value_at, varied
from probes.disk import disk_names, expert_roles
from probes.graph.trace import record
from probes.measure import measure
from tensor_table import _build_on_meta
from toys.own_fault import own_fault
from toys.shrink import shrink_unknown, vocabulary

MAX_VARIED_KEYS = 40


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Probe one model; see the module's docstring."""
    import transformers
    from toys import toy

    started = time.monotonic()
    config = dict(request["config"])
    if request.get("architecture"):
        config["architectures"] = [request["architecture"]]
    options = {"trust_remote_code": bool(request.get("trust_remote_code")), "folder": request.get("model_folder")}
    answer: dict[str, Any] = {
        "variants": {},
        "real": attributes(toy.config_of_class(config, **options)),
        "environment": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    for variant in ("a", "b"):
        try:
            answer["variants"][variant] = _variant(toy, config, variant, options)
        except Exception as error:
            fault = own_fault(error, lambda: _whole(toy, config, options))
            if fault is None:
                raise
            return {"error": fault[0], "own_fault": fault[1]}
    answer["seconds"] = round(time.monotonic() - started, 3)
    return answer


def _whole(toy: Any, config: dict[str, Any], options: dict[str, Any]) -> Any:
    """The model of the config as it is, without memory."""
    hf_config = toy.load_config(toy.sanitise(config), **options)
    return _build_on_meta(hf_config, (config.get("architectures") or [None])[0], options["trust_remote_code"])


def _variant(toy: Any, config: dict[str, Any], variant: str, options: dict[str, Any]) -> dict[str, Any]:
    small = toy.prepare(config, variant, **options)
    if options["trust_remote_code"]:
        small = shrink_unknown(small, config, variant, lambda one: toy.build(one, **options)[0])
    reads: dict[str, str] = {}
    with recorded_reads(reads):
        model, hf_config = toy.build(small, dtype="float64", **options)
        toy.randomise(model, seed=11)
        ids = _tokens(model, toy.SEQUENCE_LENGTH[variant])
        graph = record(model, ids)
    observations = measure(model, graph)
    part = toy.part_name(hf_config, model.config)
    own = hf_config if part is None else model.config
    observations["attributes"] = attributes(own)
    observations["toy"] = {key: value for key, value in small.items() if key != "architectures"}
    keys = set(hf_config.to_dict()) | set(small)
    observations["aliases"] = dict(getattr(type(own), "attribute_map", None) or {})
    observations["reads"] = {key: _short(where) for key, where in reads.items() if key.split(".")[0] in keys}
    observations["class"] = {
        "name": type(model).__name__,
        "in_transformers": hasattr(_transformers(), type(model).__name__),
    }
    observations["names"], saved = disk_names(model)
    observations["roles"] = expert_roles(observations["roles"], observations["names"], saved, model.state_dict())
    if variant == "a":
        observations["effects"], observations["flips"] = _vary(toy, small, reads, (model, graph, ids), options)
    return observations if part is None else _inside(observations, part)


def _inside(observations: dict[str, Any], part: str) -> dict[str, Any]:
    """Observations of a class that runs on one part of the config, with the keys of that part alone."""
    inner = {}
    for name in ("reads", "effects", "flips"):
        own = observations.get(name, {})
        inner[name] = {key.removeprefix(f"{part}."): one for key, one in own.items() if key.startswith(f"{part}.")}
    return {**observations, **inner, "toy": observations["toy"][part], "part": part}


def _tokens(model: Any, length: int) -> torch.Tensor:
    """Random token ids [1, length], clear of the special tokens at both ends of the vocabulary."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(3, vocabulary(model) - 12, (1, length), generator=generator)


def _transformers() -> Any:
    import transformers

    return transformers


def _short(where: str) -> str:
    """`modeling_x.py:12` from a full path."""
    return where.rsplit("/", 1)[-1]


def _vary(
    toy: Any,
    small: dict[str, Any],
    reads: dict[str, str],
    base_run: tuple[Any, Any, torch.Tensor],
    options: dict[str, Any],
) -> tuple[dict[str, str], dict[str, Any]]:
    """Change each key that the code reads, one at a time: what happens to tensors and logits; for flags, to the facts.

    The changed model gets the base model's weights wherever names and shapes agree.
    """
    model, graph, ids = base_run
    state = model.state_dict()
    base = (_signature(state), graph.tensors[graph.output])
    effects: dict[str, str] = {}
    flips: dict[str, Any] = {}
    flags = [key for key in reads if isinstance(value_at(small, key), bool)]
    numbers = [key for key in reads if value_at(small, key) is not None and key not in flags]
    for key in (flags + numbers)[:MAX_VARIED_KEYS]:
        changed = varied(small, key, value_at(small, key))
        if changed is None:
            continue
        try:
            other, _ = toy.build(changed, dtype="float64", **options)
            toy.randomise(other, seed=11)
            signature = _signature(other.state_dict())
            if signature == base[0]:
                other.load_state_dict(state)
            if key in flags:
                other_graph = record(other, ids)
                effects[key] = effect(base, (signature, other_graph.tensors[other_graph.output]))
                if effects[key] != "none":
                    flipped = measure(other, other_graph)
                    roles = sorted({f"{row['role']} {row['param']}" for row in flipped["roles"]})
                    flips[key] = {
                        "value": value_at(changed, key),
                        "facts": flipped["facts"],
                        "failures": flipped["failures"],
                        "roles": roles,
                        "tensors": _tensors(other, flipped["roles"], base[0], signature),
                    }
            elif signature != base[0]:
                effects[key] = "tensors"
            else:
                with torch.no_grad():
                    logits = other(input_ids=ids, use_cache=False).logits
                effects[key] = effect(base, (signature, logits))
        except Exception as error:  # a value that the class refuses says nothing about the key
            effects[key] = f"refused: {type(error).__name__}"
    return effects, flips


def _tensors(
    model: Any,
    roles: list[dict[str, Any]],
    before: dict[str, tuple[int, ...]],
    after: dict[str, tuple[int, ...]],
) -> dict[str, Any]:
    """How a flag changes the table of tensors: `change`, and roles and names on disk of what it adds.

    `change` is `none`, `more` (tensors come, and all others stay as they are), `fewer`, or `other`.
    """
    if before == after:
        return {"change": "none"}
    if after.items() < before.items():
        return {"change": "fewer"}
    if not before.items() < after.items():
        return {"change": "other"}
    added = after.keys() - before.keys()
    rows = [row for row in roles if row["tensor"] in added]
    unknown = sorted(added - {row["tensor"] for row in rows})
    names, _ = disk_names(model)
    return {
        "change": "more",
        "roles": rows,
        "names": {name: names[name] for name in sorted(added)},
        "unknown": unknown,
    }


def _signature(state: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}
