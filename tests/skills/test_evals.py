"""Evals decide by what can be verified afterwards: the same task fails without the skill and passes with it."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from scaffold.evals import __main__ as evals
from scaffold.evals import bench, triggers
from scaffold.evals.agent import answer_of, run_agent, split_command, tokens_of
from scaffold.evals.grade import grade
from scaffold.evals.values import Check, Eval, Grading, Measured, Timing, Verify, load_evals, load_triggers
from scaffold.evals.workplace import Workplace, models_of, prepare
from scaffold.lane import EarlyLane
from scaffold.skillpack.read import read_skills
from scaffold_tools.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]
SKILLS = read_skills()
AGENT = f"{sys.executable} {ROOT / 'tests' / 'skills' / 'scripted_agent.py'}"
each_skill = pytest.mark.parametrize("skill", SKILLS, ids=lambda skill: skill.name)


@pytest.mark.lane
def test_a_task_passes_with_the_skill_and_fails_without_it(
    tmp_path: Path, shared_lane: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """An agent that knows nothing but the skill repairs an integration; verification says whether it did."""
    args = ["--agent-cmd", AGENT, "--skill", "debugging-parity", "--eval", "epsilon", "--out", str(tmp_path), "--json"]
    assert evals.main(args) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    with_it, without = result["runs"]
    assert (with_it["configuration"], with_it["passed"]) == ("with_skill", True)
    assert (without["configuration"], without["passed"]) == ("without_skill", False)
    assert result["run_summary"]["delta"]["pass_rate"] == 0.5  # the config is unchanged in both
    assert with_it["tokens"] > without["tokens"] > 0
    place = tmp_path / "debugging-parity" / "eval-epsilon"
    grading = json.loads((place / "without_skill" / "run-1" / "grading.json").read_text(encoding="utf-8"))
    assert "logits.max_abs" in grading["expectations"][0]["evidence"]
    assert not (place / "without_skill" / "run-1" / "outputs" / ".agents").exists()
    assert json.loads((tmp_path / "benchmark.json").read_text(encoding="utf-8")) == result


@each_skill
def test_every_task_says_what_must_come_of_it_and_has_its_files(skill: Any, tmp_path: Path) -> None:
    for task in load_evals(skill.folder).evals:
        bare = dataclasses.replace(task, setup=dataclasses.replace(task.setup, new_model=None, replace=()))
        with EarlyLane() as unused:
            place = prepare(tmp_path / task.id, skill.folder, bare, "without_skill", unused)
        assert place.given
        assert task.expected_output
        assert any(check.verify or check.contains or check.answer for check in task.checks)


@each_skill
def test_no_task_is_passed_by_an_agent_that_does_nothing(skill: Any, tmp_path: Path) -> None:
    """Checked without the setup, in which nothing can be verified either."""
    for task in load_evals(skill.folder).evals:
        bare = dataclasses.replace(task, setup=dataclasses.replace(task.setup, new_model=None, replace=()))
        with EarlyLane() as unused:
            place = prepare(tmp_path / task.id, skill.folder, bare, "with_skill", unused)
            grading = grade(task, place, "Done.", unused)
        assert grading.summary["pass_rate"] < 1, task.id


def test_a_run_that_is_about_another_model_now_is_not_even_measured(tmp_path: Path) -> None:
    """Proving an easier model is no way to pass; linking the same one in another way is fine."""
    run = tmp_path / ".scaffold" / "tide"
    run.mkdir(parents=True)

    def about(path: str, layers: int) -> None:
        value = {"source": {"path": path, "link": path}, "config": {"num_hidden_layers": layers}, "tensors": None}
        (run / "inventory.json").write_text(json.dumps(value), encoding="utf-8")

    about(str(tmp_path / "tide"), 6)
    place = Workplace(tmp_path, {}, models_of(tmp_path))
    about("tide", 6)
    assert place.tampered() is None
    for path, layers in (("tide", 0), ("easier", 6)):
        about(path, layers)
        assert place.tampered() == "tide"
    task = Eval("one", "p", "o", (), ("proven",), (Check("proven", verify=Verify("tide")),))
    with EarlyLane() as unused:
        (one,) = grade(task, place, "", unused).expectations
    assert not one.passed
    assert "another model" in one.evidence


@each_skill
def test_requests_have_near_misses_and_do_not_repeat_the_description(skill: Any) -> None:
    rows = load_triggers(skill.folder)
    assert len(rows) >= 16
    wanted = [row for row in rows if row.should_trigger]
    assert 0.4 <= len(wanted) / len(rows) <= 0.6
    others = {row.query for other in SKILLS if other.name != skill.name for row in load_triggers(other.folder)}
    assert not others & {row.query for row in wanted}
    assert not [row.query for row in rows if skill.name in row.query or row.query in skill.description]


def chosen(skills: Any, tmp_path: Path) -> float:
    """Share of the requests for which an agent that counts words picks right."""
    from .scripted_agent import choose

    listing = {skill.name: skill.description for skill in skills}
    picked = [
        triggers.Picked(skill.name, row.query, row.should_trigger, choose(row.query, listing) or "none")
        for skill in skills
        for row in load_triggers(skill.folder)
    ]
    return sum(one.right for one in picked) / len(picked)


def test_even_words_alone_tell_the_descriptions_apart(tmp_path: Path) -> None:
    """A floor, not a proof of what a model picks. Exchanged descriptions fall below it."""
    assert chosen(SKILLS, tmp_path) >= 0.8
    turned = [
        dataclasses.replace(one, description=SKILLS[number - 1].description) for number, one in enumerate(SKILLS)
    ]
    assert chosen(turned, tmp_path) < 0.6


def test_the_runner_asks_for_a_name_and_takes_the_last_one(tmp_path: Path) -> None:
    said = triggers.pick(split_command(AGENT), "close the open gaps of this run", SKILLS, cwd=tmp_path, timeout=60)
    assert said == "closing-a-gap"
    echo = (sys.executable, "-c", "print('not debugging-parity but rather adding-roll-model.')")
    assert triggers.pick(echo, "x", SKILLS, cwd=tmp_path, timeout=60) == "adding-roll-model"
    assert triggers.pick((sys.executable, "-c", "print('hm')"), "x", SKILLS, cwd=tmp_path, timeout=60) == "none"


CLAUDE = {"input_tokens": 10, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 100, "output_tokens": 7}


@pytest.mark.parametrize(
    ("output", "tokens"),
    [
        (json.dumps({"type": "result", "result": "done", "usage": CLAUDE}), 122),
        ('{"type":"assistant","usage":{"input_tokens":9}}\n' + json.dumps({"type": "result", "usage": CLAUDE}), 122),
        ('{"type":"turn.completed","usage":{"input_tokens":3,"output_tokens":4}}\n' * 2, 14),
        ("I am done", None),
        ("[" * 100_000, None),
        ("3\nnull\n{", None),
    ],
    ids=["claude", "claude stream", "codex", "unknown", "deep", "other json"],
)
def test_tokens_are_those_that_the_agent_reports(output: str, tokens: int | None) -> None:
    assert tokens_of(output) == tokens


def test_the_closing_words_are_told_from_the_rest() -> None:
    assert answer_of('{"type":"result","result":"proven"}') == "proven"
    codex = '{"type":"item.completed","item":{"type":"agent_message","text":"proven"}}\n{"type":"turn.completed"}'
    assert answer_of(codex) == "proven"
    assert answer_of("plain words") == "plain words"


def test_an_agent_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    sleep = "import time; time.sleep(99)"
    script = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {sleep!r}]); {sleep}"
    said = run_agent((sys.executable, "-c", script), "x", cwd=tmp_path, timeout=1)
    assert said.timing.agent_exit_code is None
    assert said.timing.duration_ms < 20_000


def test_the_prompt_stands_where_the_command_wants_it(tmp_path: Path) -> None:
    asked = "do 'this'; $(rm -rf x)\nnow"
    script = "import sys; print(repr((sys.argv[1:], sys.stdin.read())))"
    assert run_agent(
        (sys.executable, "-c", script, "{prompt}"), asked, cwd=tmp_path, timeout=60
    ).answer.strip() == repr(([asked], ""))
    assert run_agent((sys.executable, "-c", script), asked, cwd=tmp_path, timeout=60).answer.strip() == repr(
        ([], asked)
    )


def test_an_agent_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no-such-agent"):
        run_agent(("no-such-agent",), "x", cwd=tmp_path, timeout=1)
    for command in ("", "'"):
        with pytest.raises(BadInput):
            split_command(command)


@pytest.mark.parametrize("change", [{"unchanged": None}, {"answer": "x"}, {"expectation": "another"}])
def test_an_expectation_that_nothing_decides_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    skill = tmp_path / "some-skill"
    (skill / "evals").mkdir(parents=True)
    check = {"expectation": "it is as it was", "unchanged": "x", **change}
    task = {
        "id": "one",
        "prompt": "p",
        "expected_output": "o",
        "files": [],
        "expectations": ["it is as it was"],
        "checks": [check],
    }
    (skill / "evals" / "evals.json").write_text(
        json.dumps({"skill_name": "some-skill", "evals": [task]}), encoding="utf-8"
    )
    with pytest.raises(BadInput):
        load_evals(skill)


@pytest.mark.parametrize("name", ["evals/files/../../secret", "SKILL.md", "evals/files/none", "/etc/passwd"])
def test_a_task_has_only_files_of_its_own(tmp_path: Path, name: str) -> None:
    skill = SKILLS[0]
    task = Eval("one", "p", "o", (name,), ("x",), (Check("x", answer="x"),))
    with pytest.raises(BadInput), EarlyLane() as unused:
        prepare(tmp_path / "work", skill.folder, task, "without_skill", unused)


def measured(side: Any, passed: bool, tokens: int | None) -> Measured:
    grading = Grading((), {"pass_rate": float(passed)})
    return Measured("s", "e", side, 1, Timing(tokens, 2000, 0), grading)


def test_tokens_that_nobody_reported_are_unknown_and_not_zero() -> None:
    result = bench.benchmark([measured("with_skill", True, None), measured("without_skill", False, 10)])
    assert result["run_summary"]["with_skill"]["tokens"]["mean"] is None
    assert result["run_summary"]["delta"] == {"pass_rate": 1.0, "tokens": None, "time_seconds": 0.0}
    assert "unknown" in bench.table(result)


def test_a_benchmark_has_mean_and_deviation() -> None:
    runs = [measured("with_skill", True, 10), measured("with_skill", False, 30)]
    side = bench.benchmark(runs)["skills"]["s"]["with_skill"]
    assert side["tokens"] == {"mean": 20, "stddev": pytest.approx(14.142, abs=1e-3)}
    assert side["pass_rate"]["mean"] == 0.5
    assert bench.benchmark(runs)["run_summary"]["delta"]["tokens"] is None


def test_unknown_names_are_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["--agent-cmd", "true", "--out", str(tmp_path)]
    assert evals.main([*base, "--skill", "closing-gaps"]) == BadInput.exit_code
    assert evals.main([*base, "--eval", "tides"]) == BadInput.exit_code
    assert "tide" in capsys.readouterr().err
