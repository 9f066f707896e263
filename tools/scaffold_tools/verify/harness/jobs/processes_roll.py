"""The job that takes a toy in mcore_adapter through processes of their own: split, saved and loaded, trained."""

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
from mca.spread import choose, numbers_of, spread, uneven
from mca.subject import RollSubject
from mca.toy import Toy
from mcore.no_cuda import neutralise
from processes import SAVING, SECONDS, resharded, saved, trained, unpadded
from ranks.layouts import LAYERS_MULTIPLE, fitted, hindrance
from verify_roll import SPLIT, preload

__all__ = ["preload", "run"]


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Take one toy through processes of their own.

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
        if request["layouts"]:
            checks.done += spread(toy, choose(toy, request["layouts"]))
        _alone(request, toy, checks)
    return {"checks": checks.done, "environment": versions()}


def _alone(request: dict[str, Any], toy: Toy, checks: Checks) -> None:
    """Written and read again, and trained, as every target's toy is; records `saved.*` and `trained.*`."""
    reference = toy.reference
    subject = RollSubject(
        folder=reference.folder,
        model=reference.model,
        tokens=unpadded(reference.tokens, reference.model),
        vocabulary=reference.logits.shape[-1],
        limit=reference.limit,
        trust_remote_code=bool(request.get("trust_remote_code")),
        timeout=float(request.get("seconds") or SECONDS),
        model_type=toy.model_type,
    )
    numbers, vocabulary = numbers_of(toy)
    if request.get("saved"):
        saved(subject, checks)
        if not (hindrance(SAVING, numbers) or uneven(SAVING, numbers, vocabulary)):
            resharded(subject, fitted(SAVING, numbers), checks)
    if request.get("trained"):
        trained(subject, checks)
