"""What a ROLL trains a model with beside Megatron: FSDP2 and DeepSpeed run the class of transformers itself.

They ask that `load_model` of the checkout finds the class, that it is a PreTrainedModel, and that its parameters have
the names of the checkpoint, because ROLL hands parameters to the inference engine under their own names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.edit.membership import add_member
from scaffold_tools.targets.roll.strategies_checkout import (
    FSDP2_UPDATE,
    GATHERER,
    POSITIONS,
    PROVIDERS,
    PositionBranch,
    Training,
)
from scaffold_tools.targets.roll.strategies_conversions import Conversion
from scaffold_tools.targets.roll.strategies_transformers import ClassFacts, positions_code
from scaffold_tools.workspace.plan import Change

Verdict = Literal["supported", "with the edit of this plan", "not supported", "not known", "not in this ROLL"]

_JOINS = frozenset({"MergeModulelist", "Concatenate"})
"""Operations that the checkout's generator undoes: experts stacked, gate and up one behind the other."""


@dataclass(frozen=True)
class StrategySupport:
    """What one family of strategies does with a model."""

    family: str
    """`fsdp2`, `deepspeed`, `hf`."""
    verdict: Verdict
    why: str
    missing: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """All of it in one line."""
        wanted = f"; missing: {'; '.join(self.missing)}" if self.missing else ""
        return f"{_TITLES[self.family]}: {self.verdict}, {self.why}{wanted}"


_TITLES = {"fsdp2": "FSDP2", "deepspeed": "DeepSpeed", "hf": "Transformers for the reference (hf_infer)"}
_TRAINS = ("fsdp2", "deepspeed")


@dataclass(frozen=True)
class Case:
    """A model and the checkout that is asked."""

    blueprint: Blueprint
    known: ClassFacts
    training: Training
    family: str


def _loads(case: Case) -> Iterator[str]:
    if loaded_by(case.known, case.training) is None:
        tried = " and ".join(case.training.auto_classes) or "the auto classes"
        yield f"an entry for {case.blueprint.model_type} in {tried}"


def _inherits(case: Case) -> Iterator[str]:
    if not case.known.pretrained:
        yield "inheritance from PreTrainedModel"


def _saves_activations(case: Case) -> Iterator[str]:
    if case.family in _TRAINS and not case.known.checkpointing:
        yield "supports_gradient_checkpointing, or disable_gradient_checkpointing: true in model_args"


def _wraps(case: Case) -> Iterator[str]:
    if case.family == "fsdp2" and not case.known.layer_classes:
        yield "_no_split_modules of the class, or transformer_layer_cls_to_wrap in wrap_policy"


def _hands_on(case: Case) -> Iterator[str]:
    if case.family not in _TRAINS or gathering(case) in ("same names", "undone", "undone once listed"):
        return
    name, parameter = next(iter(renamed(case.blueprint, case.known).items()))
    yield (
        f"a generator that gives parameters the checkpoint's names for the engine: {parameter} is {name} on disk,"
        f" and {FSDP2_UPDATE if case.family == 'fsdp2' else 'the model update'} hands the former on"
    )


CHECKS: tuple[tuple[Callable[[Case], Iterator[str]], str], ...] = (
    (_loads, "load_model calls from_pretrained of an auto class with the model type's config"),
    (_inherits, "the strategies call methods of PreTrainedModel: enable_input_require_grads, save_pretrained"),
    (_saves_activations, "load_model enables gradient checkpointing, which raises where the class does not have it"),
    (_wraps, "FSDP wraps the classes of _no_split_modules and asserts that there are some"),
    (_hands_on, "engines load tensors by the checkpoint's names, and parameters are handed on by their own"),
)
"""What has to hold, and why; each yields what is missing."""


def strategy_support(
    blueprint: Blueprint, known: ClassFacts | None, training: Training
) -> tuple[StrategySupport, ...]:
    """Ask about every family of strategies that runs classes of transformers."""
    found = []
    for family in _TITLES:
        names = [name for name in training.strategies if name.startswith(f"{family}_")]
        if not names:
            if family != "hf":
                why = f"its factory has {', '.join(training.strategies) or 'no strategies'}"
                found.append(StrategySupport(family, "not in this ROLL", why))
        elif known is None:
            why = f"transformers at hand has no {blueprint.architecture}"
            wanted = ("auto_map in the checkpoint's config.json, with AutoModelForCausalLM",)
            found.append(StrategySupport(family, "not known", why, wanted))
        else:
            found.append(_support(Case(blueprint, known, training, family), names))
    return tuple(found)


def _support(case: Case, names: list[str]) -> StrategySupport:
    missing = tuple(one for check, _ in CHECKS for one in check(case))
    loader = loaded_by(case.known, case.training)
    why = f"{' and '.join(names)}, loaded by {loader} (transformers {case.known.release} {case.known.where})"
    if missing:
        return StrategySupport(case.family, "not supported", why if loader else " and ".join(names), missing)
    edited = case.family == "fsdp2" and gathering(case) == "undone once listed"
    return StrategySupport(case.family, "with the edit of this plan" if edited else "supported", why)


def loaded_by(known: ClassFacts, training: Training) -> str | None:
    """The auto class that `load_model` takes: the first whose mapping has the model type."""
    entries = {"AutoModelForImageTextToText": known.auto_image_text, "AutoModelForCausalLM": known.auto_causal}
    return next((name for name in training.auto_classes if entries.get(name)), None)


def renamed(blueprint: Blueprint, known: ClassFacts) -> dict[str, str]:
    """Names on disk, with `*` for indices, whose parameters have other names -> those names."""
    found = {}
    for row in blueprint.roles:
        parameter = _parameter(row.pattern, known.conversions)
        if parameter != row.pattern:
            found[row.pattern] = parameter
    return found


def _parameter(pattern: str, conversions: tuple[Conversion, ...]) -> str:
    """The parameter that a tensor on disk ends up in."""
    name = pattern.replace("*", "0")
    for row in conversions:
        for stored in row.stored:
            target = row.parameters[0] if row.parameters else stored
            name = _replaced(stored, target, name)
    # A joined tensor has lost the expert's number; the layer's is the first.
    return re.sub(r"(?<=\.)0(?=\.)", "*", name)


def _replaced(stored: str, target: str, name: str) -> str:
    """As transformers does it: patterns are regular expressions, anchored ones without the base model's prefix."""
    try:
        found = re.sub(stored.replace(".*.", r"\.\d+\."), target, name, count=1)
        if found == name and stored.startswith("^") and name.startswith("model."):
            return "model." + re.sub(stored, target, name.removeprefix("model."), count=1)
    except re.error:
        return name
    return found


Gathering = Literal["same names", "undone", "undone once listed", "not undone"]


def gathering(case: Case) -> Gathering:
    """Whether the engine is handed the names on disk."""
    names = renamed(case.blueprint, case.known)
    if not names:
        return "same names"
    if case.family != "fsdp2" or not _undoable(names, case.known, case.training):
        return "not undone"
    listed = case.blueprint.model_type in (case.training.undone_types or ())
    return "undone" if listed else "undone once listed"


def _undoable(names: dict[str, str], known: ClassFacts, training: Training) -> bool:
    """Whether the checkout's generator gives exactly the names on disk back, and undoes what was done."""
    if training.undone_types is None or any(set(row.operations) - _JOINS for row in known.conversions):
        return False
    for parameter in set(names.values()):
        stored = {name for name, target in names.items() if target == parameter}
        branch = next((row for row in training.undo if row.parameter in parameter), None)
        if branch is None or {parameter.replace(branch.parameter, name) for name in branch.names} != stored:
            return False
        order = [one.rsplit(".", 2)[-2] for row in known.conversions for one in row.stored if len(row.stored) > 1]
        if len(branch.names) > 1 and order != [one.rsplit(".", 2)[-2] for one in branch.names]:
            return False
    return True


def edits(
    blueprint: Blueprint, known: ClassFacts | None, training: Training, *, root: Path, site_packages: Path | None
) -> tuple[Change, ...]:
    """Lists of model types in the checkout that the model belongs in, by what its code does.

    Raises:
        BadInput: a list is built in a way that an edit could only guess at.
    """
    if known is None:
        return ()
    changes = []
    if gathering(Case(blueprint, known, training, "fsdp2")) == "undone once listed":
        why = "experts that transformers joins are handed to engines one by one"
        changes.append(_listed(root, FSDP2_UPDATE, GATHERER, blueprint.model_type, why=why))
    branch = position_branch(known, training, site_packages)
    if branch is not None and blueprint.model_type not in branch.model_types:
        why = "positions of images are numbered by the code that this model's class has too"
        changes.append(_listed(root, PROVIDERS, POSITIONS, blueprint.model_type, why=why, beside=branch.model_types))
    return tuple(change for change in changes if change is not None)


def position_branch(known: ClassFacts, training: Training, site_packages: Path | None) -> PositionBranch | None:
    """The branch whose class numbers positions by the same code, to the letter."""
    if known.positions is None or site_packages is None:
        return None
    for branch in training.position_branches:
        path = site_packages.joinpath(*branch.module.split(".")).with_suffix(".py")
        if path.is_file() and positions_code(path) == known.positions:
            return branch
    return None


def _listed(
    root: Path, file: str, function: str, model_type: str, *, why: str, beside: tuple[str, ...] | None = None
) -> Change | None:
    before = (root / file).read_bytes()
    after = add_member(before, model_type, function=function, subject="model_type", beside=beside)
    if after == before:
        return None
    return Change(
        path=file,
        kind="edit",
        content=after.decode("utf-8"),
        summary=why,
        before_sha256=hashlib.sha256(before).hexdigest(),
    )
