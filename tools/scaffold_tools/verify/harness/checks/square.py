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
from checks.reference import make_reference
from checks.weights import import_weights, load_saved, round_trip

ORDER = ("square.round_trip", "square.logits")
WEIGHTS = ("import.hf_consumed", "import.megatron_filled", "import.warnings", "round_trip.exact")
"""What `square.round_trip` stands for."""
Pick = Callable[[Path, Checks], tuple[Any, str]]


def verify_square(request: dict[str, Any], folder: Path, pick: Pick) -> list[dict[str, Any]]:
    """Records `square.round_trip` and `square.logits`; skipped where the class takes no such sizes.

    Args:
        request: of the `verify` job.
        folder: the toy is saved here.
        pick: gives AutoBridge's choice for a saved toy.
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
        _measure(request, config, folder, pick, measured)
    fault = next((one["detail"] for one in measured.done if one["name"] == "reference.noise" and _broke(one)), None)
    if fault is not None:
        checks.skip(ORDER, f"Hugging Face's own toy does not run: {fault}")
        return checks.done
    checks.add("square.round_trip", **_verdict(measured, WEIGHTS), seconds=clock.lap())
    checks.add("square.logits", **_verdict(measured, ("logits.max_abs",)))
    return checks.done


def _measure(request: dict[str, Any], config: dict[str, Any], folder: Path, pick: Pick, checks: Checks) -> None:
    with checks.guard("reference.noise"):
        reference = make_reference(request, SIZES_OF, folder, checks, config=config)
    with checks.guard("registration"):
        auto_bridge, _ = pick(folder, checks)
    with checks.guard("build.megatron"):
        model, _, _ = build_megatron(auto_bridge)
    saved = load_saved(folder)
    with checks.guard("import.hf_consumed"):
        import_weights(auto_bridge, model, saved, checks)
    with checks.guard("round_trip.exact"):
        round_trip(auto_bridge, model, saved, checks)
    with checks.guard("logits.max_abs"):
        compare_logits(model, reference, checks)


def _verdict(measured: Checks, wanted: tuple[str, ...]) -> dict[str, Any]:
    """What one check says for several: the first that is not passed, or is missing for what broke before it."""
    found = {check["name"]: check for check in measured.done}
    if any(name not in found for name in wanted):
        broken = next(check for check in measured.done if _broke(check))
        return {"passed": False, "detail": f"{broken['name']}: {broken['detail']}"}
    bad = next((found[name] for name in wanted if found[name]["status"] != "passed"), None)
    last = found[wanted[-1]]
    detail = "" if bad is None else f"{bad['name']}: {bad['detail']}"
    return {"passed": bad is None, "value": last["value"], "threshold": last["threshold"], "detail": detail}


def _broke(check: dict[str, Any]) -> bool:
    return bool(check["status"] == "error")
