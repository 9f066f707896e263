"""The job that names the first divergence between an integration and the Hugging Face model, on one toy."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path
from typing import Any

import progress
import torch
from checks.measured import Broken, Checks
from checks.reference import Reference, make_reference
from checks.weights import import_weights, load_saved
from divergence.causes import Scene, likely
from divergence.compare import Difference, compare, first
from divergence.record import (
    Recording,
    attention_of_hugging_face,
    attention_of_megatron,
    recorded,
    routing_of_hugging_face,
)
from divergence.sites import Site, find_sites
from mcore.build import build_megatron, forward, prepare_process
from mcore.integration import class_name, register
from mcore.no_cuda import neutralise

from verify import preload

__all__ = ["preload", "run"]


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Run both models side by side.

    Args:
        request: as of the job `verify`; the first of its `variants` is the toy.

    Returns:
        `bridge`, `toy`, `sites` (each value that was compared, in Megatron's order), `first` (the index of the first
        that differs, or None), `causes`, `problems` (checks that failed before anything could be compared).
    """
    neutralise()
    workdir = Path(request["workdir"])
    prepare_process(workdir)
    register(request["integration"], request["architecture"])
    variant = (request.get("variants") or ["a"])[0]
    checks = Checks(f"canary-{variant}")
    answer: dict[str, Any] = {"bridge": "", "toy": checks.toy, "sites": [], "first": None, "causes": []}
    with contextlib.suppress(Broken):  # what broke is told among the problems
        answer |= _located(request, variant, workdir / f"toy-{variant}", checks)
    bad = [one for one in checks.done if one["status"] in ("failed", "error")]
    return answer | {"problems": [f"{one['name']}: {one['detail'] or one['value']}" for one in bad]}


def _located(request: dict[str, Any], variant: str, folder: Path, checks: Checks) -> dict[str, Any]:
    from megatron.bridge import AutoBridge

    progress.say("reference")
    with checks.guard("reference.noise"):
        reference = make_reference(request, variant, folder, checks)
    progress.say("import")
    trusted = bool(request.get("trust_remote_code"))
    with checks.guard("build.megatron"):
        auto_bridge = AutoBridge.from_hf_pretrained(str(folder), trust_remote_code=trusted)
        model, _, _ = build_megatron(auto_bridge)
    with checks.guard("import.hf_consumed"):
        import_weights(auto_bridge, model, load_saved(folder), checks)
    progress.say("side by side")
    with checks.guard("logits.max_abs"):
        found = side_by_side(reference, model)
    return {"bridge": class_name(type(auto_bridge._model_bridge)), **found}


def side_by_side(reference: Reference, model: Any) -> dict[str, Any]:
    """`sites`, `first` and `causes` of a Megatron model beside the Hugging Face toy whose weights it has."""
    seen, wide = _hugging_face(reference.model, reference), _wide(reference)
    ours, logits = _megatron(model, reference)
    sites = [*find_sites(model, ours, reference.model), _last(logits, reference)]
    differences = compare(sites, seen, wide)
    found = first(differences)
    return {
        "sites": [_plain(one) for one in differences],
        "first": None if found is None else differences.index(found),
        "causes": [] if found is None else likely(_scene(found, seen, reference.model, model)),
    }


def _scene(found: Difference, seen: Recording, hugging_face: Any, megatron: Any) -> Scene:
    owners = frozenset(name for name, part in hugging_face.named_modules() if [*part.parameters(recurse=False)])
    return Scene(found, seen, owners, dict(megatron.named_modules())[_module(found)])


def _hugging_face(model: Any, reference: Reference) -> Recording:
    batch, length = reference.tokens.shape
    with recorded(model, batch, length, sequence_first=False) as seen, attention_of_hugging_face(model, seen):
        handles = routing_of_hugging_face(model, seen, batch, length)
        with torch.no_grad():
            logits = model(input_ids=reference.tokens, use_cache=False).logits
        for handle in handles:
            handle.remove()
    seen.calls[""].left = logits.detach().double()
    return seen


def _wide(reference: Reference) -> Recording | None:
    """The same in fp64, which says how much of a difference is rounding."""
    try:
        return _hugging_face(copy.deepcopy(reference.model).double(), reference)
    except RuntimeError:  # the modeling code fixes dtypes
        return None


def _megatron(model: Any, reference: Reference) -> tuple[Recording, torch.Tensor]:
    batch, length = reference.tokens.shape
    with recorded(model, batch, length, sequence_first=True) as ours, attention_of_megatron(model, ours):
        logits = forward(model, reference.tokens, reference.logits.shape[-1])
    return ours, logits


def _last(logits: torch.Tensor, reference: Reference) -> Site:
    return Site(
        "output_layer",
        "logits",
        "lm_head",
        "output_layer",
        float("inf"),
        lambda seen: seen.calls[""].left,
        logits.double(),
    )


def _module(found: Difference) -> str:
    return "" if found.site.what == "logits" else found.site.megatron


def _plain(one: Difference) -> dict[str, Any]:
    site = one.site
    return {
        "megatron": site.megatron,
        "hugging_face": site.hugging_face,
        "what": site.what,
        "layer": site.layer,
        "culprit": site.culprit,
        "max_abs": one.max_abs if one.max_abs != float("inf") else None,
        "relative": one.relative if one.relative != float("inf") else None,
        "limit": one.limit,
        "differs": one.differs,
        "first_position": one.first_position,
        "positions": one.positions,
    }
