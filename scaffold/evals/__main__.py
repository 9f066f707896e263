"""`python -m scaffold.evals`: run the evals of the skills with any coding agent. `--help` has examples."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scaffold.evals import bench, triggers
from scaffold.evals.agent import run_agent, split_command
from scaffold.evals.grade import grade
from scaffold.evals.values import Configuration, Eval, Measured, load_evals
from scaffold.evals.workplace import prepare
from scaffold.lane import EarlyLane
from scaffold.run_folder import write_atomically
from scaffold.skillpack.read import Skill, read_skills
from scaffold_tools.errors import BadInput, ScaffoldError
from scaffold_tools.jsonio import dumps

EXAMPLES = """\
examples:
  python -m scaffold.evals --agent-cmd 'claude -p --output-format json --permission-mode acceptEdits'
  python -m scaffold.evals --agent-cmd 'codex exec --json --full-auto -' --skill closing-a-gap --runs 3
  python -m scaffold.evals --agent-cmd 'claude -p --output-format json' --triggers

The agent gets the prompt on stdin (or where {prompt} stands) and works in a folder of its own, with your rights: use a
container if you do not trust it. Exit code 0 when every run with the skill passed, else 1.
"""


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(
        prog="python -m scaffold.evals",
        description="Run the tasks of the skills with and without the skill, and verify what came of them.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--agent-cmd", required=True, metavar="COMMAND", help="the coding agent")
    made.add_argument("--skill", action="append", metavar="NAME", help="only this skill; may be repeated")
    made.add_argument("--eval", action="append", metavar="ID", help="only this task; may be repeated")
    made.add_argument("--runs", type=int, default=1, metavar="N", help="times that each task is done [default: 1]")
    made.add_argument("--with-only", action="store_true", help="leave out the runs without the skill")
    made.add_argument("--timeout", type=float, default=1800.0, metavar="SECONDS", help="for one task [default: 1800]")
    made.add_argument("--out", type=Path, default=Path("evals-out"), metavar="DIR", help="[default: evals-out]")
    made.add_argument("--triggers", action="store_true", help="ask which skill fits each request, instead of tasks")
    made.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return made


def main(args: Sequence[str] | None = None) -> int:
    """Run; the result is `benchmark.json` (or `triggers.json`) below `--out`, and a table on stdout."""
    options = parser().parse_args(args)
    try:
        return _triggers(options) if options.triggers else _tasks(options)
    except ScaffoldError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _tasks(options: argparse.Namespace) -> int:
    command = split_command(options.agent_cmd)
    sides: tuple[Configuration, ...] = ("with_skill",) if options.with_only else ("with_skill", "without_skill")
    numbers = range(1, options.runs + 1)
    runs = []
    with EarlyLane() as lane:
        for job in (_Job(*pair, side, number) for pair in _chosen(options) for number in numbers for side in sides):
            runs.append(_one(job, command, job.place(options.out), lane, options.timeout))
            state = "passed" if runs[-1].passed else "failed"
            print(f"  {state:<7} {job.skill.name} {job.task.id} {job.side} {job.number}", file=sys.stderr)
    result = bench.benchmark(runs)
    write_atomically(options.out / "benchmark.json", dumps(result))
    print(dumps(result) if options.json else bench.table(result))
    return 0 if all(run.passed for run in runs if run.configuration == "with_skill") else 1


@dataclass(frozen=True)
class _Job:
    """One task, to be done once in one configuration."""

    skill: Skill
    task: Eval
    side: Configuration
    number: int

    def place(self, out: Path) -> Path:
        return out.absolute() / self.skill.name / f"eval-{self.task.id}" / self.side / f"run-{self.number}"


def _one(job: _Job, command: Sequence[str], place: Path, lane: EarlyLane, timeout: float) -> Measured:
    """Prepare, let the agent work, grade; everything is kept below `place`."""
    work = prepare(place / "outputs", job.skill.folder, job.task, job.side, lane)
    said = run_agent(command, job.task.prompt, cwd=work.folder, timeout=timeout)
    write_atomically(place / "transcript.txt", said.transcript)
    write_atomically(place / "timing.json", dumps(said.timing))
    grading = grade(job.task, work, said.answer, lane)
    write_atomically(place / "grading.json", dumps(grading))
    return Measured(job.skill.name, job.task.id, job.side, job.number, said.timing, grading)


def _triggers(options: argparse.Namespace) -> int:
    skills = read_skills()
    options.out.mkdir(parents=True, exist_ok=True)
    found = triggers.run_triggers(
        split_command(options.agent_cmd), _wanted(options, skills), skills, cwd=options.out, timeout=options.timeout
    )
    write_atomically(options.out / "triggers.json", dumps({"picked": list(found)}))
    wrong = [one for one in found if not one.right]
    if options.json:
        print(dumps({"picked": list(found)}))
    else:
        print(f"{len(found) - len(wrong)} of {len(found)} requests")
        for one in wrong:
            print(f"  {one.picked} for: {one.query}")
    return 1 if wrong else 0


def _chosen(options: argparse.Namespace) -> Iterator[tuple[Skill, Eval]]:
    pairs = [(skill, task) for skill in _wanted(options, read_skills()) for task in load_evals(skill.folder).evals]
    known = {task.id for _, task in pairs}
    for name in options.eval or ():
        if name not in known:
            raise BadInput(f"there is no task {name!r}", hint=f"tasks: {', '.join(sorted(known))}")
    yield from (pair for pair in pairs if not options.eval or pair[1].id in options.eval)


def _wanted(options: argparse.Namespace, skills: Sequence[Skill]) -> tuple[Skill, ...]:
    known = {skill.name: skill for skill in skills}
    for name in options.skill or ():
        if name not in known:
            raise BadInput(f"there is no skill {name!r}", hint=f"skills: {', '.join(sorted(known))}")
    return tuple(skill for skill in skills if not options.skill or skill.name in options.skill)


if __name__ == "__main__":
    sys.exit(main())
