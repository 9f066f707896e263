"""Whether vLLM and SGLang can roll out a model, decided by their own registries, with what was looked at.

ROLL keeps no list of its own. It starts an engine with dummy weights and hands it tensors under the names that the
checkpoint has, so an engine without a model for an architecture fails when it starts, and one that has it needs exact
names on export.

An engine's registry is read from, in this order: the folder that `SCAFFOLD_VLLM_REPO` or `SCAFFOLD_SGLANG_REPO` names
(a checkout, or a folder of installed packages); the lane's installed packages; what was recorded from a release.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.errors import BadInput
from scaffold_tools.targets.roll.engines_recorded import newest, of_version
from scaffold_tools.targets.roll.engines_registries import READERS, Engine, Registry
from scaffold_tools.targets.roll.strategies_transformers import ClassFacts

Verdict = Literal["own model", "through transformers", "not supported", "not known"]

TITLES: dict[Engine, str] = {"vllm": "vLLM", "sglang": "SGLang"}
VARIABLES: dict[Engine, str] = {"vllm": "SCAFFOLD_VLLM_REPO", "sglang": "SCAFFOLD_SGLANG_REPO"}


@dataclass(frozen=True)
class EngineSupport:
    """What one engine does with one architecture."""

    engine: Engine
    verdict: Verdict
    registry: Registry
    why: str
    """Where it stands, or what decided."""
    missing: tuple[str, ...] = ()
    """What it would take, where it is not supported."""
    limits: tuple[str, ...] = ()
    """What does not work although it is supported."""
    pins: tuple[str, ...] = ()
    """The same for the versions that the checkout asks for, one line each."""

    @property
    def supported(self) -> bool:
        """Whether it serves the model as it is."""
        return self.verdict in ("own model", "through transformers")

    @property
    def one_gpu(self) -> bool:
        """Whether an instance cannot be split over GPUs."""
        return _ONE_GPU in self.limits

    @property
    def line(self) -> str:
        """All of it in one line."""
        said = f"{TITLES[self.engine]} {self.registry.label}: {self.verdict}, {self.why}"
        wanted = f"; missing: {'; '.join(self.missing)}" if self.missing else ""
        return said + wanted + "".join(f"; {limit}" for limit in (*self.limits, *self.pins))


def engine_support(
    blueprint: Blueprint,
    known: ClassFacts | None,
    *,
    site_packages: Path | None,
    checkout: Path | None,
    environment: Mapping[str, str] = os.environ,
) -> tuple[EngineSupport, ...]:
    """Ask every engine's registry about a model.

    Args:
        known: what transformers says of the class; None where it has none or none is installed.
        site_packages: where an engine may be installed.
        checkout: the ROLL, whose requirements name versions of engines.
        environment: may name checkouts of the engines.

    Raises:
        BadInput: the environment names a folder that is no such engine.
    """
    found = []
    for engine in TITLES:
        registry = _registry(engine, site_packages, environment)
        if registry is not None:
            asked = _versions_asked_for(checkout, engine)
            pins = tuple(_pinned(engine, version, blueprint, known, registry) for version in asked)
            found.append(_decide(registry, blueprint, known, tuple(line for line in pins if line)))
    return tuple(found)


def _registry(engine: Engine, site_packages: Path | None, environment: Mapping[str, str]) -> Registry | None:
    named = environment.get(VARIABLES[engine])
    if named:
        try:
            return READERS[engine](Path(named), "checkout")
        except BadInput as error:
            raise BadInput(
                f"{VARIABLES[engine]}={named}: {error.what}", hint="name a checkout, or unset it"
            ) from error
    if site_packages is not None and (site_packages / engine).is_dir():
        try:
            return READERS[engine](site_packages, "installed")
        except BadInput:  # an installation that is built as no version we know must not stop a plan
            return newest(engine)
    return newest(engine)


def _decide(
    registry: Registry, blueprint: Blueprint, known: ClassFacts | None, pins: tuple[str, ...] = ()
) -> EngineSupport:
    """Rows in the order in which the engines themselves look."""
    architecture = blueprint.architecture
    place = registry.architectures.get(architecture)
    if place is not None and architecture not in registry.through_transformers:
        return EngineSupport(registry.engine, "own model", registry, f"registered as {place}", (), (), pins)
    has_experts = any(row.role.startswith("moe.expert") for row in blueprint.roles)
    missing = tuple(_lacks(registry, known, has_experts, listed=place is not None))
    if known is None and registry.fallback is not None:
        why = "no own model, and the class is not in the transformers at hand"
        return EngineSupport(registry.engine, "not known", registry, why, missing, (), pins)
    if missing:
        dropped = registry.dropped.get(architecture)
        why = f"{architecture} is not registered" + (f"; {dropped} was the last version with it" if dropped else "")
        needs = (*missing, f"a model of its own, registered from outside ({_OUTSIDE[registry.engine]})")
        return EngineSupport(registry.engine, "not supported", registry, why, needs, (), pins)
    assert known is not None
    why = f"no own model, and transformers {known.release} {known.where} passes its checks"
    return EngineSupport(
        registry.engine, "through transformers", registry, why, (), tuple(_limits(registry, known)), pins
    )


_OUTSIDE: dict[Engine, str] = {
    "vllm": "entry point vllm.general_plugins, ModelRegistry.register_model",
    "sglang": "SGLANG_EXTERNAL_MODEL_PACKAGE, EntryClass",
}
"""How each engine takes models of others."""


def _lacks(registry: Registry, known: ClassFacts | None, has_experts: bool, *, listed: bool) -> Iterator[str]:
    """What stands in the way of the engine's way through transformers."""
    fallback = registry.fallback
    if fallback is None:
        yield "this version runs no classes of transformers"
        return
    if has_experts and not any("MoE" in name and name.endswith("ForCausalLM") for name in fallback.architectures):
        yield "its way through transformers has no class for experts"
    if known is None:
        yield "a class in transformers, or one that the checkpoint brings along (auto_map)"
        return
    if not known.pretrained:
        yield "a class that inherits from PreTrainedModel"
    for group in fallback.conditions if not listed else ():
        if not any(known.says(check) for check in group):
            yield f"{' or '.join(_CHECK_WORDS[check] for check in group)} in {known.where}"


_CHECK_WORDS = {
    "is_backend_compatible": "_supports_attention_backend = True",
    "_can_set_attn_implementation": "attention through ALL_ATTENTION_FUNCTIONS",
}


_ONE_GPU = "only on one GPU an instance: the config class has no base_model_tp_plan, and tensor parallelism raises"


def _limits(registry: Registry, known: ClassFacts) -> Iterator[str]:
    if registry.fallback is not None and registry.fallback.split_needs_plan and not known.tp_plan:
        yield _ONE_GPU
    if not known.pp_plan:
        yield "no pipeline stages: the config class has no base_model_pp_plan"


def _versions_asked_for(checkout: Path | None, engine: Engine) -> tuple[str, ...]:
    """Exact versions in the requirement files of a checkout, each once."""
    wanted = re.compile(rf"^{engine}(?:\[[^\]]*\])?==([0-9][0-9A-Za-z.]*)", re.M)
    files = sorted(checkout.glob("requirements*.txt")) if checkout is not None else []
    return tuple(dict.fromkeys(one for path in files for one in wanted.findall(path.read_text(encoding="utf-8"))))


def _pinned(
    engine: Engine, version: str, blueprint: Blueprint, known: ClassFacts | None, used: Registry
) -> str | None:
    """The verdict for a version that the checkout asks for; None where that is the one that was looked at."""
    if version == used.version:
        return None
    registry = of_version(engine, version)
    if registry is None:
        return f"{version}, which this ROLL asks for too, was not looked at"
    there = _decide(registry, blueprint, known)
    return f"in {version}, which this ROLL asks for too: {there.verdict}"
