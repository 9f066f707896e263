"""Decides the expectations of a task by looking at what is there now: never by what the agent says it did."""

from __future__ import annotations

import re
from pathlib import Path

from scaffold.evals.values import Check, Eval, Expectation, Grading, Verify
from scaffold.evals.workplace import Workplace
from scaffold.lane import EarlyLane
from scaffold_tools.errors import ScaffoldError


def grade(task: Eval, place: Workplace, answer: str, lane: EarlyLane) -> Grading:
    """Every expectation with the evidence."""
    found = []
    for check in task.checks:
        passed, evidence = _decide(check, place, answer, lane)
        found.append(Expectation(check.expectation, passed, evidence))
    good = sum(one.passed for one in found)
    summary = {"passed": good, "failed": len(found) - good, "total": len(found), "pass_rate": good / len(found)}
    return Grading(tuple(found), summary)


def _decide(check: Check, place: Workplace, answer: str, lane: EarlyLane) -> tuple[bool, str]:
    if check.verify is not None:
        tampered = place.tampered()
        if tampered is not None:
            return False, f"the run {tampered} is about another model than the task began with"
        return _verify(check.verify, place.folder, lane)
    if check.unchanged is not None:
        return _unchanged(check.unchanged, place)
    if check.contains is not None:
        return _contains(*check.contains, place.folder)
    if check.absent is not None:
        there = [path.relative_to(place.folder).as_posix() for path in place.folder.glob(check.absent)]
        return not there, f"there is {', '.join(sorted(there)[:5])}" if there else f"no {check.absent}"
    assert check.answer is not None
    found = re.search(check.answer, answer, re.IGNORECASE | re.DOTALL)
    return found is not None, f"said {found[0][:200]!r}" if found else f"no {check.answer!r} in the closing words"


def _verify(wanted: Verify, folder: Path, lane: EarlyLane) -> tuple[bool, str]:
    from scaffold import pipeline, run_folder
    from scaffold.progress import Progress

    try:
        with Progress(quiet=True) as progress:
            outcome = pipeline.verify_run(
                run_folder.find(wanted.run, folder),
                progress,
                lane="cpu",
                trust_remote_code=wanted.trust_remote_code,
                session=lane,
            )
    except ScaffoldError as error:
        return False, f"exit code {error.exit_code}: {error.what}"
    checks = outcome.evidence.checks if outcome.evidence else ()
    bad = [f"{check.name} {check.value}" for check in checks if check.status == "failed"]
    gaps = [f"gap {gap.subject}" for gap in outcome.gaps]
    return outcome.exit_code == 0, f"exit code {outcome.exit_code}" + "".join(f"; {one}" for one in (*gaps, *bad)[:6])


def _unchanged(path: str, place: Workplace) -> tuple[bool, str]:
    now = place.folder / path
    same = now.is_file() and now.read_bytes() == place.given.get(path)
    return same, f"{path} is {'as it was' if same else 'not what was given'}"


def _contains(glob: str, pattern: str, folder: Path) -> tuple[bool, str]:
    for path in sorted(folder.glob(glob)):
        if path.is_file() and re.search(pattern, path.read_text(encoding="utf-8", errors="replace")):
            return True, f"{path.relative_to(folder).as_posix()} has {pattern!r}"
    return False, f"no {glob} has {pattern!r}"
