"""Results on stdout: tables for people, one object for `--json`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from scaffold.console import emit_json, rich_console, short
from scaffold_tools.jsonio import to_jsonable

if TYPE_CHECKING:
    from rich.table import Table

    from scaffold.machine import Machine
    from scaffold.outcome import FileState, Outcome, RunStatus
    from scaffold.skillpack.install import FileAt
    from scaffold.skillpack.read import Skill
    from scaffold_tools.verify.evidence import Check, Evidence
    from scaffold_tools.verify.locate import Divergence


def outcome(result: Outcome, *, json: bool) -> None:
    """The closing report of new-model, plan, apply and verify."""
    if _whole(result, json):
        return
    for line in _files(result):
        print(line)
    if result.evidence is not None:
        rich_console(sys.stdout).print(_checks_table(result.evidence))
    if result.divergence is not None:
        for line in _divergence(result.divergence):
            print(line)
    for gap in result.gaps:
        print(f"gap: {gap.subject}: {gap.reason}")
    for note in result.notes:
        print(f"note: {note}")
    print(_verdict(result))
    for line in _next(result):
        print(f"  {line}")


def _whole(result: Outcome, json: bool) -> bool:
    """Whether JSON or a diff was all there is to print."""
    if json:
        emit_json(result)
    elif result.diff is not None:
        sys.stdout.write(result.diff)
    return json or result.diff is not None


def _files(result: Outcome) -> Iterable[str]:
    if result.supported_by and not result.generated:
        yield f"{result.target} already supports {result.architecture}: {result.supported_by}"
        yield "that integration was verified; --regenerate makes one of your own"
        return
    yield from _states(result.files)
    if result.files:
        counts = Counter(file.status for file in result.files)
        summary = ", ".join(f"{count} {status}" for status, count in counts.items())
        yield f"{'written to' if result.written else 'planned for'} {short(result.root or '')}: {summary}"


def _states(files: Iterable[FileState]) -> Iterable[str]:
    for file in files:
        yield f"  {file.status:<10} {file.path}" + (f": {file.reason}" if file.reason else "")


def updated(result: Outcome, *, check: bool, json: bool) -> None:
    """What update did with each file, or with `check` which are not as they would be generated today."""
    if _whole(result, json):
        return
    for line in _states(file for file in result.files if file.status != "identical"):
        print(line)
    counts = Counter(file.status for file in result.files)
    summary = ", ".join(f"{count} {status}" for status, count in counts.items())
    print(f"{short(result.root or '')}: {summary}")
    if check:
        print("drifted" if result.exit_code else "as it would be generated today")
    elif counts["conflict"]:
        print("resolve what stands between <<<<<<< yours and >>>>>>> new; your lines come first")
    for gap in result.gaps if not check else ():
        print(f"gap: {gap.subject}: {gap.reason}")
    for line in result.next_commands:
        print(f"  {line}")


def _divergence(found: Divergence) -> Iterable[str]:
    """The first divergence in a few lines."""
    from scaffold.heat_strip import how_far

    site = found.found
    if site is not None:
        yield f"first divergence: {site.culprit}"
        yield f"  {site.what} of {site.megatron}, against {site.hugging_face}: {how_far(site)}"
    elif found.sites:
        yield f"no divergence: {len(found.sites)} values agree, module by module"
    for cause in found.causes:
        yield f"  likely {cause.cause}: {cause.evidence}"
    for problem in found.problems:
        yield f"  failed before: {problem}"


def _verdict(result: Outcome) -> str:
    from scaffold.outcome import that_remain

    if result.proven is None:
        return f"{result.architecture}: not verified"
    evidence = result.evidence
    assert evidence is not None
    if not result.proven:
        verdict = "NOT proven"
    elif result.gaps:
        verdict = f"agrees where it is complete; {that_remain(result.gaps)}"
    else:
        verdict = "proven"
    how = "figures of an earlier run, inputs unchanged" if result.evidence_reused else f"{evidence.seconds:.1f} s"
    said = any(evidence.replaced in note for note in result.notes) if evidence.replaced else True
    replaced = "" if said else f", in place of {evidence.replaced}"
    return f"{result.architecture}: {verdict} on the {evidence.lane} lane with {evidence.bridge}{replaced} ({how})"


def _next(result: Outcome) -> Iterable[str]:
    if result.run_folder is not None:
        if result.generated or result.supported_by:
            yield f"checklist: {short(result.run_folder)}/checklist.md"
        if result.divergence is not None:
            yield f"picture: {short(result.run_folder)}/divergence.html"
    yield from result.next_commands


def _checks_table(evidence: Evidence) -> Table:
    """One row a check with a column for each canary toy; what was measured on something else has rows of its own."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    canaries = [toy for toy in dict.fromkeys(check.toy for check in evidence.checks) if toy.startswith("canary-")]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("check", *(canaries or ["result"]), "limit"):
        table.add_column(column, overflow="fold")
    for name in dict.fromkeys(check.name for check in evidence.checks):
        checks = [check for check in evidence.checks if check.name == name]
        found = {check.toy: check for check in checks if check.toy in canaries}
        if found:
            cells = [Text(*_cell(found[toy])) if toy in found else Text("") for toy in canaries]
            table.add_row(Text(name), *cells, Text(_limits(found.values())))
        for check in checks:
            if check.toy not in canaries:
                label = f"{name}, {check.toy}" if check.toy else name
                table.add_row(
                    Text(label), Text(*_cell(check)), *[Text("")] * (len(canaries) - 1), Text(_limits([check]))
                )
    return table


def _limits(checks: Iterable[Check]) -> str:
    return " ".join(dict.fromkeys(_number(check.threshold) for check in checks if check.threshold is not None))


def _cell(check: Check) -> tuple[str, str]:
    """Text and colour of one result; a class is shown without its module, which the closing line has."""
    figure = "" if check.value is None else _number(check.value)
    figure = figure.rsplit(":", 1)[-1]
    if check.status == "passed":
        return f"✓ {figure}", "green"
    if check.status == "skipped":
        return f"- {check.detail}"[:200], "yellow"
    return f"✗ {figure} {check.detail}"[:400], "red"


def _number(value: float | int | str) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def machine(found: Machine, *, json: bool) -> None:
    """The report of doctor."""
    if json:
        emit_json({**to_jsonable(found), "exit_code": found.exit_code})
        return
    for item in found.findings:
        mark = "ok" if item.ok else "missing" if item.needed else "-"
        print(f"{item.name:<10} {mark:<8} {item.detail}")
        if item.fix and not item.ok:
            print(f"{'':<10} {'':<8} to add it: {item.fix}")
    print(f"this machine can verify on: {', '.join(found.lanes) or 'nothing yet'}")


def diff(text: str, states: Iterable[FileState], *, json: bool) -> None:
    """Planned changes as a unified diff."""
    if json:
        emit_json({"files": list(states), "diff": text})
    else:
        sys.stdout.write(text)


def script(text: str) -> None:
    """A file for another program, as it is."""
    print(text, end="")


def skills(found: Iterable[Skill], *, json: bool) -> None:
    """Each playbook with what it is for."""
    if json:
        emit_json({"skills": list(found)})
        return
    for skill in found:
        print(f"{skill.name}\n  {skill.description}")


def skill_files(files: Iterable[FileAt], *, json: bool) -> None:
    """What was done, or would be done, with each file of the playbooks."""
    every = list(files)
    if json:
        emit_json({"files": every})
        return
    for file in every:
        if file.state != "identical":
            print(f"  {file.state:<10} {file.path}")
    counts = Counter(file.state for file in every)
    print(", ".join(f"{count} {state}" for state, count in counts.items()))


def undone(done: Iterable[tuple[str, str]], *, json: bool) -> None:
    """What undo did with each file."""
    files = list(done)
    if json:
        emit_json({"files": [{"path": path, "what": what} for what, path in files]})
        return
    for what, path in files:
        print(f"  {what:<10} {path}")
    kept = sum(what == "kept" for what, _ in files)
    print(
        f"{len(files) - kept} files are as they were" + (f", {kept} changed since and were left alone" if kept else "")
    )


def status(found: RunStatus, *, json: bool) -> None:
    """How far a run is."""
    if json:
        emit_json(found)
        return
    print(f"{found.model} in {short(found.run_folder)}")
    for value in found.values:
        print(f"  {'made' if value.made else '-':<10} {value.file}")
    for line in _states(found.files):
        print(line)
    if found.proven is not None:
        print("proven" if found.proven else "NOT proven")
