"""The page on upstream's integrations says no more than the rows do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from upstream_fixes import FIXES
from upstream_rows import OPEN, Row, Unmeasured, add_row, data, page, read_rows
from upstream_source import SOURCE, write_fixes

VERSIONS = {"released": {"megatron-bridge": "0.6.2"}}
WRONG = Row(
    "released", "some_type", "base", "module:Bridge", "fails", ("logits.max_abs",), 3.5, "exact",
    reason="logits.max_abs: from position 0 on", culprit="decoder.layers.0.mlp", causes=("norm epsilon: 1e-5 here",),
)  # fmt: skip
RIGHT = Row("released", "some_type", "heads-gqa", "module:Bridge", "passes", (), 2e-6, "exact")
LIMITED = replace(RIGHT, variant="limited", outcome="no reference", reason="transformers does not run it")


def test_a_defect_without_a_fix_that_restores_parity_is_not_called_confirmed() -> None:
    assert OPEN in _failing(page([WRONG], [], VERSIONS))
    assert OPEN not in _failing(page([replace(WRONG, restored_by=("the epsilon is the model's",))], [], VERSIONS))


def _failing(text: str) -> str:
    return text.partition("## What fails with the default config")[2].partition("## Before blaming")[0]


def test_what_the_default_numbers_hide_is_said() -> None:
    text = page([replace(WRONG, own_scalars=3e-7)], [], VERSIONS)
    assert "| 3.5e+00 | 3.0e-07 | exact |" in text
    assert "1 differ by less than 0.0001 with the scalars of that config" in text
    assert "| some_type | heads-gqa | 3.5e+00 | exact |" in page([replace(WRONG, variant="heads-gqa")], [], VERSIONS)


def test_what_could_not_be_judged_counts_neither_way() -> None:
    text = page([WRONG, RIGHT, LIMITED], [], VERSIONS)
    assert "0 of 1 types agree" in text
    assert "1 of 1 models agree with one key changed" in text
    assert "1 models could not be judged" in text
    assert "transformers does not run it" in text.partition("## What could not be judged")[2]


def test_notes_are_shown_for_types_that_have_a_row() -> None:
    notes = (("some_type", "published ones are otherwise"), ("another", "nothing"))
    text = page([WRONG], [], VERSIONS, notes)
    assert "- `some_type`: published ones are otherwise" in text
    assert "another" not in text


def test_wrong_logits_behind_an_exact_round_trip_are_counted() -> None:
    assert WRONG.silent
    assert not replace(WRONG, round_trip="failed").silent
    assert "1 models have an exact round trip and wrong logits" in page([WRONG], [], VERSIONS)


def test_architectures_without_a_row_are_listed_with_the_reason() -> None:
    left = [Unmeasured("released", "SomeForConditionalGeneration", "m:B", "takes more than text")]
    assert "| takes more than text | released | `SomeForConditionalGeneration` |" in page([RIGHT], left, VERSIONS)
    assert data([RIGHT], left, VERSIONS)["not_measured"][0]["why"] == "takes more than text"


def test_a_row_that_is_measured_again_replaces_the_first(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    add_row(file, WRONG)
    add_row(file, RIGHT)
    add_row(file, replace(WRONG, restored_by=("a line",)))
    assert [row.restored_by for row in read_rows(file).values()] == [("a line",), ()]


def test_hostile_text_stays_in_its_cell() -> None:
    row = replace(WRONG, causes=("a | b\n| c |",))
    line = next(line for line in page([row], [], VERSIONS).splitlines() if line.startswith("| released | some_type"))
    assert line.count("|") == 9


def test_every_fix_makes_a_module_that_compiles(tmp_path: Path) -> None:
    for fix in FIXES:
        name = write_fixes(tmp_path, (fix,), "some.module:SomeBridge", "SomeForCausalLM")
        compile((tmp_path / f"{name}.py").read_text(), name, "exec")
        assert fix.words
        assert any(code != "pass" for code in (fix.provider, fix.mappings, fix.before))
    pair = write_fixes(tmp_path, FIXES[:2], "some.module:SomeBridge", "SomeForCausalLM")
    assert (tmp_path / f"{pair}.py").read_text().count("after_build(provider, lambda") == 2
    assert "{before}" in SOURCE
