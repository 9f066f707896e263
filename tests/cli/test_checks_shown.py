"""What is printed of evidence: every check, whatever it was measured on."""

from __future__ import annotations

import pytest

from scaffold import report
from scaffold.outcome import Outcome
from scaffold_tools.verify.evidence import Check, Evidence

CHECKS = (
    Check("logits.max_abs", "passed", 1.5e-6, 1e-4, toy="canary-a"),
    Check("logits.max_abs", "failed", 3.5, 1e-4, "from position 1 on", toy="canary-b"),
    Check("square.logits", "passed", 2.5e-6, 1e-4, toy="square"),
    Check("static.layout", "passed", "tp2 pp1 ep1", toy="full-size"),
    Check("static.layout", "failed", "tp3 pp1 ep1", detail="16 heads", toy="full-size"),
)


def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *checks: Check) -> list[list[str]]:
    monkeypatch.setenv("COLUMNS", "160")
    evidence = Evidence("cpu", "m:B", None, checks, {}, 1.0)
    report.outcome(Outcome("m", "MForCausalLM", None, "megatron-bridge", evidence=evidence, proven=False), json=False)
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_toys_are_columns_and_everything_else_has_a_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = shown(capsys, monkeypatch, *CHECKS)
    head = next(line for line in lines if line[:1] == ["check"])
    assert head == ["check", "canary-a", "canary-b", "limit"]
    logits = next(line for line in lines if line[:1] == ["logits.max_abs"])
    assert logits[1:5] == ["✓", "1.5e-06", "✗", "3.5"]
    assert next(line for line in lines if line[:1] == ["square.logits,"])[1:4] == ["square", "✓", "2.5e-06"]
    assert sum(line[:1] == ["static.layout,"] for line in lines) == 2  # none hides the other


def test_without_canaries_there_is_one_column_of_results(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = shown(capsys, monkeypatch, Check("gpu.logits", "passed", 0.05, 0.25, toy="tp2 sp"))
    assert ["check", "result", "limit"] in lines
    assert ["gpu.logits,", "tp2", "sp", "✓", "0.05", "0.25"] in lines
