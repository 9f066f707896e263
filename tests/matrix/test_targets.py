"""`scaffold matrix --target roll`: the same matrix for another target, held against what Megatron-Bridge has."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest

from scaffold import cli, proving, steps
from scaffold.lane import EarlyLane
from scaffold.matrix import report
from scaffold.matrix.beside import read_rows, told_beside
from scaffold.matrix.case import _pipeline, _places, _without_places, row_of
from scaffold.matrix.run import Coverage, code_state, default_store
from scaffold.matrix.values import Row, Subject
from scaffold.outcome import FileState, Outcome
from scaffold.progress import Progress
from scaffold.targets import find_target
from scaffold_tools.errors import BadInput
from scaffold_tools.verify.evidence import Check, Evidence
from scaffold_tools.verify.processes import left_out
from scaffold_tools.verify.roll import VARIABLE
from tests.targets.roll.adapter_tree import write_adapter

ROLL = Subject("roll", processes=False)
START = Row("x", "base", "XForCausalLM", "gap", "")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A ROLL in miniature, under git."""
    folder, _ = write_adapter(tmp_path)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
        name = ("-c", "user.name=x", "-c", "user.email=x@x")
        subprocess.run(["git", "-C", str(folder), *name, *command], check=True)
    return folder


def coverage(rows: tuple[Row, ...], subject: Subject = ROLL) -> Coverage:
    return Coverage(rows, refused=0, reused=0, versions={"ROLL": "0123456789ab"}, seconds=1.0, subject=subject)


def row(name: str, outcome: str, reason: str = "") -> Row:
    return dataclasses.replace(START, model_type=name, outcome=outcome, reason=reason)  # type: ignore[arg-type]


# What is measured


def test_each_target_says_which_module_has_its_custom_blocks() -> None:
    """ROLL's `modeling_` is a model class that may have stock modules throughout."""
    check = Check("logits.max_abs", "passed", 1e-6, 1e-4, toy="canary-a")
    proven = Evidence("cpu", "x:x", None, (check,), {}, 1.0)

    def outcome(file: str, subject: Subject) -> str:
        states = (FileState(file, "create", ""),)
        return row_of(START, Outcome("x", "X", None, "t", files=states, evidence=proven, proven=True), subject).outcome

    assert outcome("p/modeling_x.py", ROLL) == "proven"
    assert outcome("p/modules_x.py", ROLL) == "proven-with-block"
    assert outcome("p/modeling_x.py", Subject()) == "proven-with-block"


def test_a_case_is_measured_for_the_target_that_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ROLL without a checkout cannot even be planned for; for Megatron-Bridge the same case gets further."""
    monkeypatch.delenv(VARIABLE, raising=False)
    model = tmp_path / "x"
    model.mkdir()
    config = {"architectures": ["QwenForCausalLM"], "model_type": "x", "hidden_size": 8, "vocab_size": 64}
    (model / "config.json").write_text(json.dumps(config))
    found = _pipeline(START, model, EarlyLane(), tmp_path, ROLL)
    assert (found.unexplained, found.reason) == (True, "ROLL is on no registry, and no checkout of it is named")


def test_what_was_not_asked_for_in_processes_is_left_out_and_not_passed() -> None:
    evidence = Evidence("cpu", "x:x", None, (Check("logits.max_abs", "passed"),), {}, 1.0)
    nothing = EarlyLane()  # never started: a job would start it
    job = steps.Job(Progress(quiet=True), nothing, processes=False)
    checks = proving.in_processes(job, None, None, evidence, print)  # type: ignore[arg-type]
    assert checks == left_out("not asked for")
    assert not nothing.started


def test_where_the_checkout_lies_reaches_no_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "ROLL"))
    said = f"KeyError: 'x' [{tmp_path}/ROLL/mcore_adapter/src/template.py:653]"
    told = _without_places(dataclasses.replace(START, reason=said), _places(Path("/some/case"), ROLL))
    assert told.reason == "KeyError: 'x' [mcore_adapter/src/template.py:653]"


# The checkout


def test_a_target_that_needs_a_checkout_says_so(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert cli.run(["matrix", "--target", "roll"]) == 5
    assert VARIABLE in capsys.readouterr().err
    assert cli.run(["matrix", "--repo", str(checkout)]) == 2
    assert "as the lane has it" in capsys.readouterr().err


def test_the_page_names_the_commit_and_says_when_files_differ_from_it(checkout: Path) -> None:
    versions = find_target("roll").versions
    commit = versions(checkout)["ROLL"]
    assert len(commit) == 12
    (checkout / "unrelated.txt").write_text("x")
    assert versions(checkout)["ROLL"] == commit
    (checkout / "mcore_adapter" / "src" / "x.py").write_text("x = 1\n")
    assert versions(checkout)["ROLL"] == f"{commit} with changes"


def test_results_of_another_checkout_target_or_depth_are_not_reused(checkout: Path) -> None:
    states = [code_state({}, ROLL, checkout), code_state({}, Subject("roll"), checkout), code_state({})]
    (checkout / "mcore_adapter" / "src" / "x.py").write_text("x = 1\n")
    states.append(code_state({}, ROLL, checkout))
    assert len(set(states)) == 4
    assert default_store("s", "roll").folder != default_store("s").folder


# The page


def test_a_run_of_some_types_leaves_the_rows_of_others(tmp_path: Path) -> None:
    report.write_docs(coverage((row("a", "gap", "k: nobody reads it"), row("b", "proven"))), tmp_path)
    again = report.with_the_rest(coverage((row("a", "proven"),)), tmp_path)
    assert [(one.model_type, one.outcome) for one in again.rows] == [("a", "proven"), ("b", "proven")]


@pytest.mark.parametrize("other", [{"versions": {"ROLL": "fedcba987654"}}, {"subject": Subject("roll")}])
def test_rows_that_were_measured_with_something_else_are_not_put_beside(tmp_path: Path, other: dict) -> None:
    report.write_docs(coverage((row("b", "proven"),)), tmp_path)
    with pytest.raises(BadInput, match="something else"):
        report.with_the_rest(dataclasses.replace(coverage((row("a", "proven"),)), **other), tmp_path)


def test_the_page_of_another_target_says_what_was_measured_and_is_a_file_of_its_own(tmp_path: Path) -> None:
    found = coverage((row("a", "proven"), row("b", "gap", "k: nobody reads it")))
    json_file, page = report.write_docs(found, tmp_path)
    assert (json_file.name, page.name) == ("coverage-roll.json", "coverage-roll.md")
    text = page.read_text()
    assert "# Coverage of ROLL" in text
    assert "`scaffold matrix --target roll --repo CHECKOUT --no-processes --fresh`" in text
    assert "in one process" in text
    assert "ROLL 0123456789ab" in text
    assert "Beside Megatron-Bridge" not in text  # there is nothing to be held against
    assert "in one process" not in report.text(dataclasses.replace(found, subject=Subject("roll")))


def test_the_page_counts_what_is_proven_of_what_megatron_bridge_has(tmp_path: Path) -> None:
    theirs = (
        row("a", "proven"),
        row("b", "proven"),
        row("c", "proven"),
        row("d", "proven-with-block"),
        row("e", "gap"),
    )
    report.write_docs(coverage(theirs, Subject()), tmp_path)
    _, page = report.write_docs(
        coverage((row("a", "proven-with-block"), row("b", "gap"), row("d", "proven"))), tmp_path
    )
    text = page.read_text()
    assert "2 types are proven here" in text
    assert "| on megatron-core's own modules | 3 | 1 | `b`, `c` |" in text  # c was not measured, so it is not proven
    assert "| with custom blocks | 1 | 1 |  |" in text
    assert "| a gap | 1 | 0 | `e` |" in text


def test_variants_are_not_counted_as_types() -> None:
    other = dataclasses.replace(row("a", "proven"), variant="tied")
    assert "0 types are proven here" in told_beside((other,), (row("a", "proven"),))


def test_rows_that_somebody_broke_are_bad_input(tmp_path: Path) -> None:
    file = tmp_path / "coverage.json"
    file.write_text('[{"model_type": "x"}]')
    with pytest.raises(BadInput, match=r"coverage\.json"):
        read_rows(file)
