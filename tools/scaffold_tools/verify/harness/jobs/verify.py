"""The job that proves an integration: toys, real import, real export, logits. Runs in the lane's Python."""

from __future__ import annotations

import contextlib
import importlib
import platform
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import progress
from checks.config import compare_config
from checks.generation import compare_generation
from checks.logits import compare_fusions, compare_logits, compare_padded
from checks.measured import Broken, Checks, Clock
from checks.reference import make_reference
from checks.square import through_auto_bridge, verify_square
from checks.stored import ORDER as STORED_ORDER
from checks.stored import verify_stored
from checks.weights import import_again, import_weights, load_saved, round_trip
from echo import versions
from mcore.build import build_megatron, prepare_process
from mcore.integration import class_name, expected, register
from mcore.no_cuda import neutralise
from toys.rows import LANGUAGE_CONFIGS
from toys.square import VARIANT as SQUARE

ORDER = (
    *("reference.reach", "reference.noise", "registration", "build.megatron"),
    *("import.hf_consumed", "import.megatron_filled", "import.warnings"),
    *("round_trip.exact", "config.exported", "logits.max_abs", "logits.cosine"),
    *("logits.padded", "logits.fusions", "generation.greedy", "import.repeatable"),
)
"""Every check of one toy, in the order in which they run."""
SWITCHED = "switched"
"""The toy whose flags are as other sizes of the family have them."""


def preload(request: dict[str, Any]) -> None:
    """What every verification imports; the installed Megatron-Bridge only where it is the one that is used."""
    neutralise()
    for module in ("transformer_engine", "megatron.core.models.gpt"):
        importlib.import_module(module)
    for module in ("datasets", "peft", "omegaconf", "hydra"):
        with contextlib.suppress(ImportError):  # Megatron-Bridge imports them where it finds them
            importlib.import_module(module)
    if request["integration"]["kind"] != "checkout":
        importlib.import_module("megatron.bridge")


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Verify one integration on one toy a variant.

    Args:
        request: `integration` ({kind, path, module, bridge}), `config` (raw config.json), `architecture`, `variants`,
            `seed`, `workdir`, `model_folder`, `trust_remote_code`;
            `switched` ({flag: value}, one more toy has them so); for a quantised checkpoint `stored` (as in the
            blueprint, with `quantization_config`) and `script` (the file that writes an unquantised copy).

    Returns:
        `bridge` (`module:Class`), `replaced`, `checks`, `environment`.
    """
    neutralise()
    workdir = Path(request["workdir"])
    workdir.mkdir(parents=True, exist_ok=True)
    prepare_process(workdir)
    integration = request["integration"]
    registered = register(integration, request["architecture"])
    results: dict[str, Any] = {"bridge": "", "replaced": registered.replaced, "checks": []}
    notes: dict[str, Any] = {}
    variants = request.get("variants") or ("a", "b", SQUARE)
    for name, variant, asked in _toys(request, variants):
        checks = Checks(f"canary-{name}")
        try:
            bridge = _verify_toy(asked, variant, workdir / f"toy-{name}", checks, notes)
            results["bridge"] = bridge or results["bridge"]
        except Broken as broken:
            if name == SWITCHED and str(broken) == "reference.noise":
                # Each flag was measured alone; transformers may refuse them together, and then no size has them so.
                refused = checks.done.pop()["detail"]
                checks.skip(("reference.noise",), f"transformers does not run with {asked['switched']}: {refused}")
            done = {check["name"] for check in checks.done}
            names = (*ORDER, *(STORED_ORDER if _stored_runs(asked, variant) else ()))
            checks.skip(tuple(name for name in names if name not in done), f"{broken} broke before")
        results["checks"] += checks.done
    if SQUARE in variants:
        progress.say("square: all of it")
        bring = partial(through_auto_bridge, partial(_pick, request))
        results["checks"] += verify_square(request, workdir / "toy-square", bring)
    return results | {"environment": _environment() | notes}


def _toys(request: dict[str, Any], variants: Sequence[str]) -> list[tuple[str, str, dict[str, Any]]]:
    """(name, variant, request) of each canary toy."""
    toys = [(variant, variant, request) for variant in variants if variant != SQUARE]
    switched = request.get("switched") or {}
    if toys and switched:
        config = _with_flags(request["config"], switched)
        toys.append((SWITCHED, toys[0][1], {**request, "config": config, "stored": None}))
    return toys


def _with_flags(config: dict[str, Any], flags: dict[str, bool]) -> dict[str, Any]:
    """A raw config with other flags, in the part that the language model is built from."""
    part = next((key for key in LANGUAGE_CONFIGS if isinstance(config.get(key), dict)), None)
    return {**config, **flags} if part is None else {**config, part: {**config[part], **flags}}


def _verify_toy(request: dict[str, Any], variant: str, folder: Path, checks: Checks, notes: dict[str, Any]) -> str:
    """All checks of one toy, in order; returns the bridge that AutoBridge picked."""
    toy = checks.toy
    progress.say(f"{toy}: reference")
    with checks.guard("reference.noise"):
        reference = make_reference(request, variant, folder, checks)
    saved = load_saved(folder)
    progress.say(f"{toy}: build")
    with checks.guard("registration"):
        auto_bridge, picked = _pick(request, folder, checks)
    clock = Clock()
    with checks.guard("build.megatron"):
        model, provider, changed = build_megatron(auto_bridge)
    notes |= {"provider": class_name(type(provider)), "overrides": changed}
    checks.add("build.megatron", True, value=class_name(type(provider)), seconds=clock.lap())
    progress.say(f"{toy}: import")
    with checks.guard("import.hf_consumed"):
        import_weights(auto_bridge, model, saved, checks)
    progress.say(f"{toy}: round trip")
    with checks.guard("round_trip.exact"):
        round_trip(auto_bridge, model, saved, checks)
    with checks.guard("config.exported"):
        compare_config(auto_bridge, provider, reference, checks)
    progress.say(f"{toy}: logits")
    with checks.guard("logits.max_abs"):
        compare_logits(model, reference, checks)
    with checks.guard("logits.padded"):
        compare_padded(model, reference, checks)
    with checks.guard("logits.fusions"):
        compare_fusions(model, reference, checks)
    with checks.guard("generation.greedy"):
        compare_generation(model, reference, checks)
    with checks.guard("import.repeatable"):  # after what it could change was measured
        import_again(auto_bridge, model, checks)
    if _stored_runs(request, variant):
        progress.say(f"{toy}: the quantised form of the checkpoint")
        verify_stored(request, reference, checks)
    return picked


def _stored_runs(request: dict[str, Any], variant: str) -> bool:
    """The quantised form needs one toy: what depends on sizes was seen on both before."""
    variants = request.get("variants") or ("a", "b")
    return bool(request.get("stored")) and variant == variants[0]


def _pick(request: dict[str, Any], folder: Path, checks: Checks) -> tuple[Any, str]:
    """AutoBridge's own choice for the saved toy; records `registration`."""
    from megatron.bridge import AutoBridge

    clock = Clock()
    auto_bridge = AutoBridge.from_hf_pretrained(str(folder), trust_remote_code=bool(request.get("trust_remote_code")))
    picked = type(auto_bridge._model_bridge)
    right, wanted = expected(request["integration"], picked)
    checks.add("registration", right, value=class_name(picked), threshold=wanted, seconds=clock.lap())
    return auto_bridge, class_name(picked)


def _environment() -> dict[str, Any]:
    import megatron.bridge
    import torch
    import transformer_engine

    return versions() | {
        "bridge_location": str(Path(megatron.bridge.__file__).parent),
        "transformer_engine": "stand-in" if getattr(transformer_engine, "IS_STANDIN", False) else "real",
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "neutralised": neutralise(),
    }
