"""The pull-request text says what was measured, and never more."""

from __future__ import annotations

import dataclasses

import pytest

from scaffold import checklist, outcome
from scaffold_tools.blueprint.facts import Blueprint, Fact, Gap, KeyUse, Stored, StoredGroup
from scaffold_tools.blueprint.facts import Evidence as Reason
from scaffold_tools.source.inventory import Inventory, Source
from scaffold_tools.verify.evidence import Check, Evidence
from scaffold_tools.workspace.plan import Change, Plan

INVENTORY = Inventory(
    source=Source("org/model", "hub", "org/model", revision="a" * 40),
    config={"architectures": ["ModelForCausalLM"]},
    tensors=None,
)
PASSED = (
    Check("logits.max_abs", "passed", 1.234e-6, 1e-4, toy="canary-a"),
    Check("logits.max_abs", "passed", 2.5e-6, 1e-4, toy="canary-b"),
    Check("round_trip.exact", "passed", "29/29", "all", toy="canary-a"),
)
GAP = Gap("attn.magic", "no rule knows it", "modeling_x.py:12", "the block", "logits.max_abs")


def evidence(*checks: Check) -> Evidence:
    return Evidence(
        "cpu", "pkg:Bridge", None, checks, {"torch": "2.0", "list": ["a", "b"], "place": "/home/me/lib"}, 1.0
    )


def blueprint(**values: object) -> Blueprint:
    fact = Fact("norm.eps", 1e-6, "measured", (Reason("probe", "measured 0.01 | 0.02"),))
    empty = Blueprint("org/model", "ModelForCausalLM", "model", True, (fact,), (), (), ())
    return dataclasses.replace(empty, **values)  # type: ignore[arg-type]


def plan(**values: object) -> Plan:
    change = Change("pkg/bridge.py", "create", "", "the bridge")
    return dataclasses.replace(
        Plan("target", "package", "/tmp/pkg", "pkg", (change,), next_commands=("pip install -e pkg",)),
        **values,  # type: ignore[arg-type]
    )


def made(
    *checks: Check,
    blue: Blueprint | None = None,
    planned: Plan | None = None,
    open_gaps: tuple[Gap, ...] | None = None,
) -> str:
    return checklist.render(
        checklist.build(
            INVENTORY,
            blue or blueprint(),
            planned or plan(),
            evidence(*checks) if checks else None,
            tool="scaffold 0",
            describe=lambda name: f"proves {name}",
            run="org--model",
            open_gaps=open_gaps,
        )
    )


def boxes(text: str, mark: str) -> list[str]:
    return [line.replace("\\", "") for line in text.splitlines() if line.startswith(f"- [{mark}]")]


def test_a_box_is_ticked_with_its_figures_toys_and_limit() -> None:
    ticked = boxes(made(*PASSED), "x")
    assert len(ticked) == 2
    figures = "canary-a 1.23e-06 (limit 0.0001); canary-b 2.5e-06 (limit 0.0001)"
    assert ticked[0] == f"- [x] logits.max_abs: proves logits.max_abs — {figures}"


@pytest.mark.parametrize("status", ["failed", "skipped", "error"])
def test_one_toy_that_did_not_pass_leaves_the_box_open(status: str) -> None:
    bad = dataclasses.replace(PASSED[1], status=status, detail="first difference in layer 2")
    text = made(PASSED[0], bad, PASSED[2])
    assert not [line for line in boxes(text, "x") if "logits.max_abs" in line]
    (line,) = [line for line in boxes(text, " ") if "logits.max_abs" in line]
    assert status.upper() in line
    assert "first difference in layer 2" in line
    assert "`scaffold verify org--model`" in line


def test_nothing_is_ticked_before_anything_was_measured() -> None:
    text = made()
    assert boxes(text, "x") == []
    assert "Not verified yet" in text
    assert any("scaffold verify" in line for line in boxes(text, " "))


def test_a_failed_check_is_said_first() -> None:
    text = made(*PASSED, Check("import.warnings", "failed", 3, 0, toy="canary-a"))
    assert "NOT proven" in text.splitlines()[2]


def test_open_boxes_have_the_command_that_closes_them() -> None:
    assert "`pip install -e pkg`" in "".join(boxes(made(*PASSED), " "))


def test_the_full_size_is_an_open_box_until_it_was_measured() -> None:
    assert any("`scaffold verify org--model --static`" in line for line in boxes(made(*PASSED), " "))
    static = Check("static.produced", "passed", "51/51", "all")
    assert not any("--static" in line for line in boxes(made(*PASSED, static), " "))


def test_what_a_lane_does_not_show_is_said() -> None:
    text = made(*PASSED).split("## Not measured")[1]
    for part in ("real weights", "fp32", "training", "several processes"):
        assert part in text
    assert "stand-in" not in text.split("##")[0]  # this lane had none
    assert "## Not measured" not in made()


def test_a_key_that_the_code_reads_and_no_fact_explains_is_an_open_box() -> None:
    keys = (KeyUse("magic_scale", 3.0, True, None), KeyUse("rms_norm_eps", 1e-6, True, "norm.eps"))
    opened = "".join(boxes(made(*PASSED, blue=blueprint(keys=keys)), " "))
    assert "magic_scale" in opened
    assert "rms_norm_eps" not in opened


def test_what_agrees_but_has_gaps_is_not_called_proven() -> None:
    assert "Proven on" in made(*PASSED).splitlines()[2]
    lines = made(*PASSED, blue=blueprint(gaps=(GAP,))).splitlines()
    assert lines[2].startswith("NOT finished")
    assert "1 gap remains" in lines[2]


def test_each_open_gap_is_an_open_box_with_the_command_that_closes_it() -> None:
    opened = boxes(made(*PASSED, blue=blueprint(gaps=(GAP,))), " ")
    assert any("gap, see below: attn.magic" in line and "`scaffold verify org--model`" in line for line in opened)


def test_a_closed_gap_is_no_open_box_but_reviewers_are_told_to_read_its_code() -> None:
    text = made(*PASSED, planned=plan(gaps=(GAP,)), open_gaps=())
    assert text.splitlines()[2].startswith("Proven on")
    assert "closed by hand: 1" in text.splitlines()[2]
    assert "attn.magic" not in "".join(boxes(text, " "))
    assert "no rule knows it" in text.split("## Gaps closed by hand")[1]


def test_every_paragraph_stands_apart() -> None:
    text = made(*PASSED, blue=blueprint(gaps=(GAP, dataclasses.replace(GAP, reason="another"))))
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("#") and number:
            assert lines[number - 1] == "" and lines[number + 1] == "", line


def test_each_gap_has_its_paragraph_once() -> None:
    text = made(*PASSED, blue=blueprint(gaps=(GAP,)), planned=plan(gaps=(GAP,)))
    assert text.count("no rule knows it") == 1
    for part in ("modeling_x.py:12", "the block", "logits.max_abs"):
        assert part in text.split("## Gaps")[1]


def test_provenance_names_commit_tool_and_versions() -> None:
    text = made(*PASSED).split("## Provenance")[1]
    for part in ("org/model at " + "a" * 40, "scaffold 0", "2.0", "a, b"):
        assert part in text
    assert "/home/me" not in text


def test_a_strangers_text_cannot_add_lines_links_or_boxes() -> None:
    evil = "x\n- [x] proven by [me](http://evil.example) <script> | a | @everyone"
    fact = Fact(evil, evil, "measured", (Reason("key", evil),))
    gap = Gap(evil, evil, evil, evil, evil)
    keys = (KeyUse(evil, evil, True, None),)
    text = made(*PASSED, blue=blueprint(facts=(fact,), gaps=(gap,), keys=keys))
    assert len(boxes(text, "x")) == 2
    outside_code = "".join(part for number, part in enumerate(text.split("`")) if number % 2 == 0)
    for forbidden in ("<script>", "http://", "@everyone"):
        assert forbidden not in outside_code
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {5}


def test_gaps_decide_the_exit_code_before_failures_do() -> None:
    bad = evidence(*PASSED, Check("import.warnings", "failed"))
    assert outcome.exit_code((), None) == 0
    assert outcome.exit_code((), evidence(*PASSED)) == 0
    assert outcome.exit_code((), bad) == 1
    assert outcome.exit_code((GAP,), bad) == 3
    assert outcome.exit_code((GAP,), evidence(*PASSED)) == 3


def test_how_weights_are_stored_is_a_row_with_its_evidence() -> None:
    parts = (("weight_scale_inv", ".weight_scale_inv"),)
    group = StoredGroup("fp8-block", 8, (128, 128), "weight", ".weight", ".weight", parts, (), 14)
    stored = Stored((group,), certainty="constrained", evidence=(Reason("tensor", "q_proj.weight is F8_E4M3"),))
    text = made(*PASSED, blue=blueprint(stored=stored))
    (row,) = [line for line in text.splitlines() if line.startswith("| `stored`")]
    assert "fp8-block, 14 weights, block 128x128, tensors weight, weight_scale_inv" in row
    assert "q_proj.weight is" in row
    assert "| `stored`" not in made(*PASSED)


def test_what_was_split_and_trained_is_not_among_what_was_not_measured() -> None:
    checks = (Check("sharded.logits", "passed", toy="tp2 sp"), Check("trained.loss", "passed"))
    said = made(*PASSED, *checks).split("## Not measured")[1]
    assert "several processes in other layouts than tp2 sp: scaffold verify org--model --sharded" in said
    assert "training beyond a few steps" in said
    assert "saved and loaded: scaffold verify org--model --sharded" in said
    saved = Check("saved.exact", "passed")
    assert "saved and loaded" not in made(*PASSED, *checks, saved).split("## Not measured")[1]
    skipped = (Check(check.name, "skipped", toy=check.toy) for check in checks)
    said = made(*PASSED, *skipped).split("## Not measured")[1]
    assert "was not split; scaffold verify org--model --sharded does it" in said
    assert "training beyond" not in said
