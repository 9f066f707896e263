"""The job that proves an integration into ROLL: the toys of every target, and mcore_adapter's own ways in and out."""

from __future__ import annotations

import contextlib
import importlib
import platform
from functools import partial
from pathlib import Path
from typing import Any

import progress
import torch
from checks.generation import compare_generation
from checks.logits import compare_fusions, compare_logits, compare_padded
from checks.measured import Broken, Checks
from checks.reference import Reference, make_reference
from checks.square import verify_square
from checks.stored import ORDER as STORED
from checks.weights import load_saved
from echo import versions
from mca.called import compare_called
from mca.checkout import Registered, loaded_type, register, use_checkout
from mca.grouped import compare_grouped
from mca.lint import lint
from mca.load import fresh
from mca.spread import choose, spread
from mca.toy import Toy
from mca.weights import compare_configs, import_again, import_weights, round_trip
from mcore.build import prepare_process
from mcore.no_cuda import neutralise
from toys.square import VARIANT as SQUARE

ORDER = (
    *("reference.reach", "reference.noise", "registration", "build.megatron"),
    *("import.hf_consumed", "import.megatron_filled", "import.warnings"),
    *("round_trip.exact", "config.exported", "logits.max_abs", "logits.cosine"),
    *("logits.padded", "logits.as_called", "logits.fusions", "generation.greedy"),
    *("import.repeatable", "experts.grouped"),
    *("lint.fields", "lint.distribution", "lint.converters"),
)
"""Every check of one toy, in the order in which they run."""
SPLIT = "b"
"""The toy that is also split: its heads, experts, layers and vocabulary are even."""


def preload(request: dict[str, Any]) -> None:
    """What mcore_adapter imports, apart from itself: the checkout may have changed by the next job."""
    neutralise()
    for module in ("transformer_engine", "megatron.core.models.gpt", "megatron.core.dist_checkpointing"):
        importlib.import_module(module)
    for module in ("peft", "datasets", "accelerate", "transformers.trainer"):
        with contextlib.suppress(ImportError):
            importlib.import_module(module)


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Verify one integration on one toy a variant.

    Args:
        request: as for the job `verify`; `integration` also has `framework`, the checkout of ROLL. `layouts` are
            splits to try as well: `few`, `all`, or a list of the fields of `Layout`; none of them where there is none.

    Returns:
        `bridge` (`module:model_type`), `replaced`, `checks`, `environment`.
    """
    neutralise()
    workdir = Path(request["workdir"])
    workdir.mkdir(parents=True, exist_ok=True)
    use_checkout(request["integration"], workdir)
    registered = register(request["integration"], loaded_type(request["config"]))
    asked = request.get("variants") or ("a", "b", SQUARE)
    variants = [one for one in asked if one != SQUARE]
    toys = [_Measured(request, variant, workdir / f"toy-{variant}", registered) for variant in variants]
    for toy in toys:
        toy.prepare()
    chosen = next((toy for toy in toys if toy.variant == SPLIT), toys[0])
    split = chosen.split()
    prepare_process(workdir)  # only now: processes that are forked must not inherit a process group
    for toy in toys:
        toy.verify()
    if chosen.broken:
        split = chosen.without_a_whole(split)
    if SQUARE in asked and registered.own:
        progress.say("square: all of it")
        with fresh(chosen.model_type):
            split += verify_square(request, workdir / "toy-square", partial(_through_roll, chosen.model_type))
    return {
        "bridge": registered.name,
        "replaced": registered.replaced,
        "checks": [check for toy in toys for check in toy.checks.done] + split,
        "environment": _environment(),
    }


def _through_roll(model_type: str, reference: Reference, checks: Checks) -> Any:
    toy = Toy(reference, model_type, load_saved(reference.folder))
    loaded = import_weights(toy, checks)
    with checks.guard("round_trip.exact"):
        round_trip(toy, loaded, checks)
    return loaded.model


class _Measured:
    """One toy and its checks."""

    def __init__(self, request: dict[str, Any], variant: str, folder: Path, registered: Registered) -> None:
        self.request = request
        self.variant = variant
        self.folder = folder
        self.registered = registered
        self.model_type = loaded_type(request["config"])
        self.checks = Checks(f"canary-{variant}")
        self.reference: Reference | None = None
        self.broken = ""

    def prepare(self) -> None:
        """The Hugging Face side, and whether there is anything to compare with it."""
        progress.say(f"{self.checks.toy}: reference")
        with self._going_on():
            with self.checks.guard("reference.noise"):
                self.reference = make_reference(self.request, self.variant, self.folder, self.checks)
            self._registration()

    def _registration(self) -> None:
        missing = self.registered.missing
        detail = f"never called for {self.model_type}: {', '.join(missing)}" if missing else ""
        if not self.registered.own:
            detail = detail or "the template is not the one under test"
        value = self.registered.name or "nothing"
        self.checks.add("registration", self.registered.whole, value=value, threshold="all four", detail=detail)
        if not self.registered.own:
            raise Broken("registration")

    def split(self) -> list[dict[str, Any]]:
        """The same on several processes, in the splits that were asked for."""
        layouts = self.request.get("layouts")
        if self.broken or self.reference is None or not layouts:
            return []
        checks, toy = Checks("several processes"), self._toy()
        with contextlib.suppress(Broken), checks.guard("sharded.build"), fresh(self.model_type):
            checks.done += spread(toy, choose(toy, layouts))
        return checks.done

    def without_a_whole(self, split: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The checks of several processes where one process did not come to the end: they have nothing to add."""
        checks = Checks("several processes")
        checks.skip(tuple(dict.fromkeys(one["name"] for one in split)), f"{self.broken} broke before")
        return checks.done

    def verify(self) -> None:
        """Everything on one process."""
        if not self.broken:
            with self._going_on(), fresh(self.model_type):
                self._verify()
        if self.request.get("stored"):
            self.checks.skip(STORED, "mcore_adapter undoes no stored format: it is given an unquantised copy")
        done = {check["name"] for check in self.checks.done}
        self.checks.skip(tuple(name for name in ORDER if name not in done), f"{self.broken} broke before")

    def _toy(self) -> Toy:
        assert self.reference is not None
        return Toy(self.reference, self.model_type, load_saved(self.folder))

    def _verify(self) -> None:
        checks, toy = self.checks, self._toy()
        reference = toy.reference
        progress.say(f"{checks.toy}: import")
        loaded = import_weights(toy, checks)
        progress.say(f"{checks.toy}: round trip")
        with checks.guard("round_trip.exact"):
            round_trip(toy, loaded, checks)
        with checks.guard("config.exported"):
            compare_configs(toy, bool(self.request.get("trust_remote_code")), checks)
        progress.say(f"{checks.toy}: logits")
        with checks.guard("logits.max_abs"):
            compare_logits(loaded.model, reference, checks)
        with checks.guard("logits.padded"):
            compare_padded(loaded.model, reference, checks)
        with checks.guard("logits.as_called"):
            compare_called(toy, loaded, checks)
        with checks.guard("logits.fusions"):
            compare_fusions(loaded.model, reference, checks)
        with checks.guard("generation.greedy"):
            compare_generation(loaded.model, reference, checks)
        with checks.guard("import.repeatable"):
            import_again(toy, loaded, checks)
        with checks.guard("experts.grouped"):
            compare_grouped(toy, loaded, checks)
        with checks.guard("lint.fields"):
            lint(loaded, checks)

    @contextlib.contextmanager
    def _going_on(self) -> Any:
        """What breaks ends this toy and nothing else."""
        try:
            yield
        except Broken as broken:
            self.broken = str(broken)


def _environment() -> dict[str, Any]:
    import mcore_adapter
    import transformer_engine

    return versions() | {
        "bridge_location": str(Path(mcore_adapter.__file__ or "").parent),
        "transformer_engine": "stand-in" if getattr(transformer_engine, "IS_STANDIN", False) else "real",
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "neutralised": [*neutralise(), "model_parallel_cuda_manual_seed"],
    }
