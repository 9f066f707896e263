"""One case of the matrix, from a config to a row: the same function that `scaffold new-model` calls."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scaffold.lane import EarlyLane
from scaffold.matrix.kinds import Seen, why_not_a_decoder
from scaffold.matrix.values import BASE, MEGATRON_BRIDGE, Case, Finished, GapLine, Row, Subject
from scaffold.outcome import Outcome
from scaffold.targets import find_target
from scaffold_tools.blueprint.facts import Gap
from scaffold_tools.classify.model import Classification, classify
from scaffold_tools.errors import BadInput, Refused, ScaffoldError
from scaffold_tools.source.inventory import Inventory
from scaffold_tools.source.read import read_inventory
from scaffold_tools.source.saved import SAVED_FILE, save_table
from scaffold_tools.verify.evidence import Check, Evidence
from scaffold_tools.verify.lane import LaneJobFailed

SHOWN_GAPS = 8
PACKAGES = re.compile(r"/\S*/site-packages/")
PROBE = "probe"
"""Subject of the gap that says that the probe broke."""


def run_case(case: Case, lane: EarlyLane, folder: Path, subject: Subject = MEGATRON_BRIDGE) -> Finished:
    """Measure one case in an empty folder. Whatever breaks is the row's reason."""
    started = time.monotonic()
    session = lane.session()
    session.peak_mb = 0
    finished = _run(case, lane, folder, subject)
    if finished.row is None:
        return finished
    seconds = round(time.monotonic() - started, 1)
    row = dataclasses.replace(finished.row, seconds=seconds, peak_mb=session.peak_mb or None)
    return dataclasses.replace(finished, row=_without_places(row, _places(folder, subject)))


def _places(folder: Path, subject: Subject) -> tuple[Path, ...]:
    """Where things lie: the case's folder, and the checkout that it is measured with."""
    variable = find_target(subject.target).checkout_variable
    checkout = os.environ.get(variable) if variable else None
    named = (folder, Path(checkout)) if checkout else (folder,)
    return tuple(dict.fromkeys(path for place in named for path in (place.resolve(), place)))


def _without_places(row: Row, places: Sequence[Path]) -> Row:
    """Libraries name files in their errors; where they lie on this machine is nobody's business."""

    def clean(text: str) -> str:
        for place in places:
            text = text.replace(f"{place}/", "")
        return PACKAGES.sub("", text)

    gaps = tuple(dataclasses.replace(gap, reason=clean(gap.reason)) for gap in row.gaps)
    figures = {
        toy: clean(value) if isinstance(value, str) else value for toy, value in (row.logits_max_abs or {}).items()
    }
    return dataclasses.replace(row, reason=clean(row.reason), gaps=gaps, logits_max_abs=figures or None)


def _run(case: Case, lane: EarlyLane, folder: Path, subject: Subject) -> Finished:
    start = Row(case.model_type, case.variant, "", "gap", "")
    if case.config is not None:
        return _variant(case, start, lane, folder, subject)
    try:
        answer = lane.call("causal_types", {"action": "describe", "model_type": case.model_type})
    except LaneJobFailed as error:
        return Finished(_unexplained(start, error.what))
    start = dataclasses.replace(start, architecture=answer["architecture"], repairs=tuple(answer["repairs"]))
    config = answer["config"]
    classification = None if config is None else _classify(config, folder / case.name, lane)
    start = dataclasses.replace(start, structure=str(classification or ""))
    reason = why_not_a_decoder(Seen(answer, classification))
    if reason is not None:
        source = answer.get("source")
        return Finished(dataclasses.replace(start, outcome="not-a-decoder", reason=reason, hf_source=source), config)
    if answer.get("problem"):
        reason = f"the class cannot be built from its own defaults: {answer['problem']}"
        return Finished(dataclasses.replace(start, reason=reason, hf_source=answer.get("source")), config)
    row = _pipeline(start, folder / case.name, lane, folder, subject)
    return Finished(_with_toy_problem(row, answer.get("observed") or {}), config)


def _variant(case: Case, start: Row, lane: EarlyLane, folder: Path, subject: Subject) -> Finished:
    config = case.config
    assert config is not None
    start = dataclasses.replace(start, architecture=config["architectures"][0])
    try:
        classification = classify(_read(config, folder / case.name, lane))
    except ScaffoldError as error:
        return Finished(None, refused=error.what)
    start = dataclasses.replace(start, structure=str(classification))
    return Finished(_pipeline(start, folder / case.name, lane, folder, subject))


def _read(config: dict[str, Any], model: Path, lane: EarlyLane) -> Inventory:
    """The inventory of a config alone; its derived table is kept beside it, as in the embedded examples."""
    _write(config, model)
    inventory = read_inventory(str(model), derive_table=lambda request: lane.call("tensor_table", request))
    assert inventory.tensors is not None
    (model / SAVED_FILE).write_text(save_table(inventory.tensors), encoding="utf-8")
    return inventory


def _classify(config: dict[str, Any], model: Path, lane: EarlyLane) -> Classification | None:
    with contextlib.suppress(ScaffoldError):
        return classify(_read(config, model, lane))
    with contextlib.suppress(ScaffoldError):  # a class that does not build leaves the keys
        return classify(read_inventory(str(model)))
    return None


def _write(config: dict[str, Any], model: Path) -> None:
    model.mkdir(parents=True, exist_ok=True)
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")


def _pipeline(start: Row, model: Path, lane: EarlyLane, folder: Path, subject: Subject) -> Row:
    from scaffold import pipeline
    from scaffold.progress import Progress

    settings = pipeline.Settings(
        link=str(model),
        target=subject.target,
        regenerate=True,
        out=folder / "package",
        processes=subject.processes,
    )
    try:
        with contextlib.chdir(folder):
            outcome = pipeline.new_model(settings, Progress(quiet=True), lane=lane)
    except ScaffoldError as error:
        refused = isinstance(error, BadInput | Refused)  # anything else is a fault: of a template, of the lane
        return dataclasses.replace(start, reason=error.what, unexplained=not refused)
    except Exception as error:  # a fault of ours is a row too; the others go on
        return _unexplained(start, f"{type(error).__name__}: {error}")
    return row_of(start, outcome, subject)


def _unexplained(start: Row, what: str) -> Row:
    return dataclasses.replace(start, outcome="gap", reason=f"broke: {' '.join(what.split())[:400]}", unexplained=True)


def row_of(start: Row, outcome: Outcome, subject: Subject = MEGATRON_BRIDGE) -> Row:
    """What the pipeline's outcome means for the matrix; never proven while anything is open.

    Args:
        start: what is known of the row before.
        outcome: of `new-model`.
        subject: what it was measured for, which says how modules with custom blocks are called.
    """
    gaps = tuple(dict.fromkeys(_line(gap) for gap in outcome.gaps))
    row = dataclasses.replace(start, gaps=gaps[:SHOWN_GAPS], gap_count=len(gaps), **_figures(outcome.evidence))
    custom_blocks = find_target(subject.target).custom_blocks
    blocks = [file.path for file in outcome.files if file.path.rsplit("/", 1)[-1].startswith(custom_blocks)]
    if gaps:
        unprobed = next((gap for gap in gaps if gap.subject == PROBE), None)  # the rest follows from nothing measured
        own = next((gap for gap in gaps if gap.subject == "transformers"), None)  # no toy could run
        first = unprobed or own or next((gap for gap in gaps if gap.hf_source), gaps[0])
        more = f" (and {len(gaps) - 1} more)" if len(gaps) > 1 else ""
        reason = f"{first.subject}: {first.reason}{more}"
        return dataclasses.replace(
            row, outcome="gap", reason=reason, hf_source=first.hf_source, unexplained=unprobed is not None
        )
    if not outcome.proven:
        theirs = _breaks_in_transformers(outcome.evidence)
        if theirs is not None:
            return dataclasses.replace(row, outcome="gap", reason=theirs[0], hf_source=theirs[1])
        return dataclasses.replace(row, outcome="gap", reason=_failure(outcome.evidence), unexplained=True)
    if blocks:
        return dataclasses.replace(row, outcome="proven-with-block", reason=f"custom blocks in {blocks[0]}")
    return dataclasses.replace(row, outcome="proven")


def _line(gap: Gap) -> GapLine:
    return GapLine(gap.subject, " ".join(gap.reason.split())[:300], gap.hf_source)


def _figures(evidence: Evidence | None) -> dict[str, Any]:
    if evidence is None:
        return {}
    logits = {check.toy: check.value for check in evidence.checks if check.name == "logits.max_abs"}
    trips = {check.toy: check.status for check in evidence.checks if check.name == "round_trip.exact"}
    return {"logits_max_abs": logits or None, "round_trip": trips or None}


def _failure(evidence: Evidence | None) -> str:
    """No gap was reported, and yet a check failed: said as what it is."""
    bad = [check for check in evidence.checks if check.status in ("failed", "error")] if evidence else []
    if not bad:
        return "not proven, and no gap and no failed check says why"
    return f"no gap was reported, but {'; '.join(_say(check) for check in bad[:2])}"


def _breaks_in_transformers(evidence: Evidence | None) -> tuple[str, str] | None:
    """(reason, source line) where the Hugging Face model itself raises when it is run: nothing can be compared."""
    for check in evidence.checks if evidence else ():
        inmost = re.search(r"\[transformers/(?:[\w/]+/)?(\w+\.py:\d+)", check.detail)
        if check.name == "reference.noise" and check.status == "error" and inmost is not None:
            what = check.detail[: inmost.start()].strip()[:200]
            return f"transformers: the model itself breaks when it is run: {what}", inmost.group(1)
    return None


def _say(check: Check) -> str:
    detail = f": {' '.join(check.detail.split())[:200]}" if check.detail else ""
    return f"{check.name} {check.status} on {check.toy} ({check.value}){detail}"


def _with_toy_problem(row: Row, observed: dict[str, Any]) -> Row:
    """Where the toy of the observations broke, its error says more than what followed from it."""
    problem = observed.get("problem") or observed.get("takes_tokens")
    if row.outcome != "gap" or not problem or row.variant != BASE:
        return row
    if any(gap.subject == "transformers" for gap in row.gaps):  # the toy stopped where the model itself does
        return row
    reason = f"a toy of it does not run: {problem['problem']}; {row.reason}"
    return dataclasses.replace(row, reason=reason, hf_source=problem.get("source") or row.hf_source)
