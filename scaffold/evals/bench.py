"""All runs together: what a skill buys, and what it costs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from scaffold.evals.values import Measured

CONFIGURATIONS = ("with_skill", "without_skill")


def benchmark(runs: Sequence[Measured]) -> dict[str, Any]:
    """`benchmark.json`: each configuration, and the difference; over all skills and for each."""
    skills = sorted({run.skill for run in runs})
    return {
        "run_summary": _summary(runs),
        "skills": {name: _summary([run for run in runs if run.skill == name]) for name in skills},
        "runs": [
            {
                "skill": run.skill,
                "eval": run.eval,
                "configuration": run.configuration,
                "run": run.run,
                "passed": run.passed,
                "pass_rate": run.grading.summary["pass_rate"],
                "tokens": run.timing.total_tokens,
                "time_seconds": run.timing.duration_ms / 1000,
                "agent_exit_code": run.timing.agent_exit_code,
            }
            for run in runs
        ],
    }


def _summary(runs: Sequence[Measured]) -> dict[str, Any]:
    sides = {name: _side([run for run in runs if run.configuration == name]) for name in CONFIGURATIONS}
    delta = {
        name: _difference(*(sides[side][name]["mean"] if sides[side] else None for side in CONFIGURATIONS))
        for name in ("pass_rate", "tokens", "time_seconds")
    }
    return {**{name: side for name, side in sides.items() if side}, "delta": delta}


def _side(runs: Sequence[Measured]) -> dict[str, Any]:
    if not runs:
        return {}
    return {
        "passed": sum(run.passed for run in runs),
        "total": len(runs),
        "pass_rate": _spread(run.grading.summary["pass_rate"] for run in runs),
        "tokens": _spread(run.timing.total_tokens for run in runs),
        "time_seconds": _spread(run.timing.duration_ms / 1000 for run in runs),
    }


def _spread(values: Iterable[float | None]) -> dict[str, float | None]:
    """Mean and deviation of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    if not known:
        return {"mean": None, "stddev": None}
    return {"mean": statistics.fmean(known), "stddev": statistics.stdev(known) if len(known) > 1 else 0.0}


def _difference(with_it: float | None, without: float | None) -> float | None:
    return None if with_it is None or without is None else with_it - without


def table(result: dict[str, Any]) -> str:
    """The benchmark for people."""
    lines = [f"{'skill':<24}{'':<15}{'passed':>8}{'expectations':>14}{'tokens':>10}{'seconds':>9}"]
    for skill, summary in result["skills"].items():
        for name in CONFIGURATIONS:
            side = summary.get(name)
            if side is None:
                continue
            tokens = side["tokens"]["mean"]
            lines.append(
                f"{skill:<24}{name:<15}{side['passed']:>5}/{side['total']:<2}{side['pass_rate']['mean']:>14.2f}"
                f"{'unknown' if tokens is None else format(tokens, '.0f'):>10}{side['time_seconds']['mean']:>9.1f}"
            )
    return "\n".join(lines)
