"""The job that names the first divergence between an integration into ROLL and the Hugging Face model, on one toy."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import progress
from checks.measured import Broken, Checks
from checks.reference import make_reference
from checks.weights import load_saved
from locate import side_by_side
from mca.checkout import loaded_type, register, use_checkout
from mca.toy import Toy
from mca.weights import import_weights
from mcore.build import prepare_process
from mcore.no_cuda import neutralise
from verify_roll import preload

__all__ = ["preload", "run"]


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Run both models side by side.

    Args:
        request: as of the job `verify_roll`; the first of its `variants` is the toy.

    Returns:
        As of the job `locate`.
    """
    neutralise()
    workdir = Path(request["workdir"])
    use_checkout(request["integration"], workdir)
    model_type = loaded_type(request["config"])
    registered = register(request["integration"], model_type)
    prepare_process(workdir)
    variant = (request.get("variants") or ["a"])[0]
    checks = Checks(f"canary-{variant}")
    answer: dict[str, Any] = {"bridge": registered.name, "toy": checks.toy, "sites": [], "first": None, "causes": []}
    with contextlib.suppress(Broken):  # what broke is told among the problems
        progress.say("reference")
        with checks.guard("reference.noise"):
            reference = make_reference(request, variant, workdir / f"toy-{variant}", checks)
        progress.say("import")
        loaded = import_weights(Toy(reference, model_type, load_saved(reference.folder)), checks)
        progress.say("side by side")
        with checks.guard("logits.max_abs"):
            answer |= side_by_side(reference, loaded.model)
    bad = [one for one in checks.done if one["status"] in ("failed", "error")]
    return answer | {"problems": [f"{one['name']}: {one['detail'] or one['value']}" for one in bad]}
