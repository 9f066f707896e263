"""The toy whose matrices are square: imported, exported, run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mcore.build import build_megatron
from toys.square import SIZES_OF, VARIANT, prepare_square

from checks.logits import compare_logits
from checks.measured import Broken, Checks, Clock
from checks.reference import Reference, make_reference
from checks.weights import import_weights, load_saved, round_trip

ORDER = ("square.round_trip", "square.logits")
WEIGHTS = ("import.hf_consumed", "import.megatron_filled", "import.warnings", "round_trip.exact")
"""What `square.round_trip` stands for."""
Pick = Callable[[Path, Checks], tuple[Any, str]]
Bring = Callable[[Reference, Checks], Any]
"""Takes a saved toy into the target and back; returns the Megatron model."""


def verify_square(request: dict[str, Any], folder: Path, bring: Bring) -> list[dict[str, Any]]:
    """Records `square.round_trip` and `square.logits`; skipped where the class takes no such sizes.

    Args:
        request: of the `verify` job.
        folder: the toy is saved here.
        bring: takes the saved toy into the target and back.
    """
    checks, measured, clock = Checks(VARIANT), Checks(VARIANT), Clock()
    if request.get("trust_remote_code"):
        checks.skip(ORDER, "a model with its own code has its sizes under names of its own")
        return checks.done
    config = prepare_square({**request["config"], "architectures": [request["architecture"]]})
    if config is None:
        checks.skip(ORDER, "the class takes no sizes that coincide")
        return checks.done
    with contextlib.suppress(Broken):  # what broke is among the checks that were measured
        _measure(request, config, folder, bring, measured)
    fault = next((one["detail"] for one in measured.done if one["name"] == "reference.noise" and _broke(one)), None)
    if fault is not None:
        checks.skip(ORDER, f"Hugging Face's own toy does not run: {fault}")
        return checks.done
    checks.add("square.round_trip", **_verdict(measured, WEIGHTS), seconds=clock.lap())
    checks.add("square.logits", **_verdict(measured, ("logits.max_abs",)))
    return checks.done


def _measure(request: dict[str, Any], config: dict[str, Any], folder: Path, bring: Bring, checks: Checks) -> None:
    with checks.guard("reference.noise"):
        reference = make_reference(request, SIZES_OF, folder, checks, config=config)
    model = bring(reference, checks)
    with checks.guard("logits.max_abs"):
        compare_logits(model, reference, checks)


def through_auto_bridge(pick: Pick, reference: Reference, checks: Checks) -> Any:
    """Into Megatron-Bridge and back; `pick` gives AutoBridge's choice for a saved toy."""
    with checks.guard("registration"):
        auto_bridge, _ = pick(reference.folder, checks)
    with checks.guard("build.megatron"):
        model, _, _ = build_megatron(auto_bridge)
    saved = load_saved(reference.folder)
    with checks.guard("import.hf_consumed"):
        import_weights(auto_bridge, model, saved, checks)
    with checks.guard("round_trip.exact"):
        round_trip(auto_bridge, model, saved, checks)
    return model


def _verdict(measured: Checks, wanted: tuple[str, ...]) -> dict[str, Any]:
    """What one check says for several: the first that is not passed, or is missing for what broke before it."""
    found = {check["name"]: check for check in measured.done}
    if any(name not in found for name in wanted):
        broken = next(check for check in measured.done if check["status"] in ("error", "failed"))
        return {"passed": False, "detail": f"{broken['name']}: {broken['detail']}"}
    bad = next((found[name] for name in wanted if found[name]["status"] != "passed"), None)
    last = found[wanted[-1]]
    detail = "" if bad is None else f"{bad['name']}: {bad['detail']}"
    return {"passed": bad is None, "value": last["value"], "threshold": last["threshold"], "detail": detail}


def _broke(check: dict[str, Any]) -> bool:
    return bool(check["status"] == "error")
