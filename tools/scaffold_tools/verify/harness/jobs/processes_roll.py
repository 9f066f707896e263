"""The job that splits a toy over processes as ROLL does, in the splits that were asked for."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import progress
from checks.measured import Broken, Checks
from checks.reference import make_reference
from checks.weights import load_saved
from echo import versions
from mca.checkout import loaded_type, register, use_checkout
from mca.spread import choose, spread
from mca.toy import Toy
from mcore.no_cuda import neutralise
from ranks.layouts import LAYERS_MULTIPLE
from verify_roll import SPLIT, preload

__all__ = ["preload", "run"]

LEFT_OUT = ("saved.exact", "saved.logits", "trained.gradients", "trained.loss", "trained.logits")
"""ROLL saves and trains with trainers of its own, which want a cluster."""


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Split one toy.

    Args:
        request: as for the job `processes`; `integration` also has `framework`.

    Returns:
        As of the job `processes`.
    """
    neutralise()
    workdir = Path(request["workdir"])
    workdir.mkdir(parents=True, exist_ok=True)
    checks = Checks("one process")
    with contextlib.suppress(Broken), checks.guard("sharded.build"):
        use_checkout(request["integration"], workdir)
        model_type = loaded_type(request["config"])
        register(request["integration"], model_type)
        progress.say("processes: reference")
        whole = request | {"layers_multiple": LAYERS_MULTIPLE}
        reference = make_reference(whole, SPLIT, workdir / "toy-processes", Checks(""))
        toy = Toy(reference, model_type, load_saved(reference.folder))
        checks.done += spread(toy, choose(toy, request["layouts"]))
    checks.skip(LEFT_OUT, "not measured for ROLL")
    return {"checks": checks.done, "environment": versions()}
