"""The text of a pull request: boxes ticked by what was measured, the rest open with what closes them.

Reads only the values of the run folder; knows no target and no model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from scaffold import links
from scaffold.outcome import that_remain
from scaffold_tools.blueprint.facts import Blueprint, Fact, Gap
from scaffold_tools.source.inventory import Inventory
from scaffold_tools.verify.evidence import Check, Evidence
from scaffold_tools.workspace.plan import Plan


@dataclass(frozen=True)
class Box:
    """One line of the checklist."""

    ticked: bool
    text: str
    measured: str = ""
    """The figures, where something was measured."""
    command: str = ""
    """What closes an open box."""


@dataclass(frozen=True)
class Paragraph:
    """One gap, with the line of code that shows it."""

    gap: Gap
    url: str | None


@dataclass(frozen=True)
class Checklist:
    """All that the template shows."""

    title: str
    summary: str
    notes: tuple[str, ...]
    repeat: str
    """The command that measures again."""
    proven: tuple[Box, ...]
    open: tuple[Box, ...]
    not_measured: tuple[str, ...]
    gaps: tuple[Paragraph, ...]
    closed: tuple[Paragraph, ...]
    facts: tuple[tuple[str, str, str, str], ...]
    files: tuple[tuple[str, str], ...]
    source_url: str | None
    provenance: tuple[tuple[str, str], ...]


def build(
    inventory: Inventory,
    blueprint: Blueprint | None,
    plan: Plan | None,
    evidence: Evidence | None,
    *,
    tool: str,
    describe: Callable[[str], str] = str,
    run: str,
    open_gaps: Collection[Gap] | None = None,
    site_packages: Path | None = None,
) -> Checklist:
    """Put the checklist together.

    Args:
        describe: what the check of that name proves, in words.
        run: the run folder's name, for the commands that close open boxes.
        open_gaps: those of the plan that nobody has closed yet; None: all.
        site_packages: where the measured transformers is installed, if it is known.
    """
    verify_command = f"scaffold verify {run}"
    boxes = tuple(_measured(evidence, describe, verify_command))
    found = tuple(dict.fromkeys((*(blueprint.gaps if blueprint else ()), *(plan.gaps if plan else ()))))
    left = tuple(gap for gap in found if open_gaps is None or gap in open_gaps)
    closed = tuple(gap for gap in found if gap not in left)
    architecture = blueprint.architecture if blueprint else _architecture(inventory)
    release = str(evidence.environment.get("transformers")) if evidence else None

    def paragraphs(gaps: Iterable[Gap]) -> tuple[Paragraph, ...]:
        return tuple(Paragraph(gap, links.code_url(gap.hf_source, release, site_packages)) for gap in gaps)

    return Checklist(
        title=f"{architecture} ({inventory.source.name})",
        summary=_summary(left, closed, evidence),
        notes=tuple(_notes(plan, evidence)),
        repeat=verify_command,
        proven=tuple(box for box in boxes if box.ticked),
        open=(*(box for box in boxes if not box.ticked), *_open(blueprint, plan, evidence, left, run)),
        not_measured=tuple(_not_measured(evidence, verify_command)),
        gaps=paragraphs(left),
        closed=paragraphs(closed),
        facts=(*_stored_rows(blueprint), *(_fact_row(fact) for fact in blueprint.facts)) if blueprint else (),
        files=tuple((change.path, change.summary) for change in plan.changes) if plan else (),
        source_url=links.hub_url(inventory.source),
        provenance=tuple(_provenance(inventory, evidence, tool)),
    )


def render(checklist: Checklist) -> str:
    """Markdown."""
    from scaffold_tools.paths import data_dir
    from scaffold_tools.render import Renderer

    return Renderer(data_dir("templates")).render("checklist/checklist.md.j2", {"list": checklist})


def _summary(left: Collection[Gap], closed: Collection[Gap], evidence: Evidence | None) -> str:
    if evidence is None:
        return "Not verified yet: nothing below has been measured."
    where = f"on the {evidence.lane} lane with {evidence.bridge or 'no bridge'}"
    remain = that_remain(left)
    if not evidence.proven:
        return f"NOT proven: checks failed {where}." + (f" {remain.capitalize()}." if left else "")
    if left:
        return f"NOT finished: what is there agrees {where}, and {remain}."
    by_hand = f" Gaps closed by hand: {len(closed)}, see below." if closed else ""
    return f"Proven {where}.{by_hand}"


def _notes(plan: Plan | None, evidence: Evidence | None) -> Iterable[str]:
    notes = plan.notes if plan is not None else ()
    if evidence is not None and evidence.replaced and not any(evidence.replaced in note for note in notes):
        yield f"takes the place of {evidence.replaced}"
    yield from notes


def _measured(evidence: Evidence | None, describe: Callable[[str], str], command: str) -> Iterable[Box]:
    """One box a check name: ticked only when it passed on every toy that it ran on."""
    groups: dict[str, list[Check]] = {}
    for check in evidence.checks if evidence else ():
        groups.setdefault(check.name, []).append(check)
    for name, checks in groups.items():
        ticked = all(check.status == "passed" for check in checks)
        measured = "; ".join(filter(None, (_figure(check) for check in checks)))
        yield Box(ticked, f"{name}: {describe(name)}", measured, "" if ticked else command)


def _figure(check: Check) -> str:
    parts = [check.toy] if check.toy else []
    if check.status != "passed":
        parts.append(check.status.upper())
    if check.value is not None:
        parts.append(_number(check.value))
    if check.threshold is not None:
        parts.append(f"(limit {_number(check.threshold)})")
    if check.status != "passed" and check.detail:
        parts.append(check.detail)
    return " ".join(parts)


def _number(value: float | int | str) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _open(
    blueprint: Blueprint | None, plan: Plan | None, evidence: Evidence | None, left: Collection[Gap], run: str
) -> Iterable[Box]:
    if evidence is None:
        yield Box(False, "numerical parity with the Hugging Face model", command=f"scaffold verify {run}")
    elif not any(check.name.startswith("static.") for check in evidence.checks):
        yield Box(False, "every tensor of the real model, at full size", command=f"scaffold verify {run} --static")
    for gap in left:
        yield Box(False, f"gap, see below: {gap.subject}", command=f"scaffold verify {run}")
    known = {gap.subject for gap in (*(blueprint.gaps if blueprint else ()), *(plan.gaps if plan else ()))}
    for key in blueprint.keys if blueprint else ():
        if key.read_by_code and key.consumed_by is None and key.key not in known:
            text = f"config key {key.key} is read by the Hugging Face code, and no fact accounts for it"
            yield Box(False, text, command=f"scaffold plan --blueprint .scaffold/{run}/blueprint.json")
    for command in plan.next_commands if plan else ():
        text, _, closes = command.rpartition(": ") if ": " in command else ("", "", command)
        yield Box(False, text or "to use it", command=closes)


def _not_measured(evidence: Evidence | None, command: str) -> Iterable[str]:
    """What these figures do not show, so that nobody reads more into them."""
    if evidence is None:
        return
    if not any(check.name == "generation.real" and check.status == "passed" for check in evidence.checks):
        yield "the real weights: what was compared are toys of this architecture with random ones"
    if evidence.lane == "cpu":
        yield "reduced precision: logits were compared in fp32"
        yield "a GPU"
    if evidence.environment.get("transformer_engine") == "stand-in":
        yield "Transformer Engine's own kernels: a stand-in in plain torch took their place"
    split = [check.toy for check in evidence.checks if check.name == "sharded.logits" and check.status == "passed"]
    if split:
        yield f"several processes in other layouts than {', '.join(split)}: {command} --sharded"
    elif evidence.lane != "gpu-multi":
        yield f"several processes: the model that computed was not split; {command} --sharded does it"
    if not any(check.name == "saved.exact" and check.status == "passed" for check in evidence.checks):
        yield f"a checkpoint in Megatron's own format, saved and loaded: {command} --sharded"
    trained = any(check.name == "trained.loss" and check.status == "passed" for check in evidence.checks)
    yield "training beyond a few steps" if trained else "training"


def _fact_row(fact: Fact) -> tuple[str, str, str, str]:
    value = str(fact.value)
    shown = value if len(value) <= 80 else value[:77] + "..."
    return fact.name, shown, fact.certainty, "; ".join(item.detail for item in fact.evidence)


def _stored_rows(blueprint: Blueprint) -> Iterable[tuple[str, str, str, str]]:
    """How a quantised checkpoint stores its weights: a row for each form."""
    stored = blueprint.stored
    for group in stored.groups if stored else ():
        assert stored is not None
        parts = ", ".join([group.values, *(part for part, _ in group.parts)])
        block = "x".join(map(str, group.block)) if group.block else "none"
        count = f"{group.tensors} weights" if group.tensors else "weights as declared"
        why = "; ".join(item.detail for item in stored.evidence)
        yield "stored", f"{group.format}, {count}, block {block}, tensors {parts}", stored.certainty, why


def _provenance(inventory: Inventory, evidence: Evidence | None, tool: str) -> Iterable[tuple[str, str]]:
    source = inventory.source
    yield "source", source.name + (f" at {source.revision}" if source.revision else f" ({source.kind})")
    if inventory.tensors is not None:
        yield "tensors", f"{len(inventory.tensors.tensors)} from {inventory.tensors.origin}"
    for note in inventory.notes:
        yield "note", note
    yield "tool", tool
    for name, value in (evidence.environment if evidence else {}).items():
        shown = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        if not shown.startswith("/"):  # where things lie on the author's machine is nobody's business
            yield name, shown


def _architecture(inventory: Inventory) -> str:
    names = inventory.config.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else inventory.source.name
