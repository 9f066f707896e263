"""`scaffold matrix`: goes on after anything breaks, takes up where it was, and never calls proven what is not."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import time
from pathlib import Path
from typing import Any

import pytest

from scaffold.matrix import report
from scaffold.matrix.case import _without_places, row_of
from scaffold.matrix.kinds import NOT_DECODERS, Seen, why_not_a_decoder
from scaffold.matrix.pool import _Worker, run_cases
from scaffold.matrix.run import Coverage, Options, Store, run_matrix, summary
from scaffold.matrix.values import Case, Finished, GapLine, Row
from scaffold.matrix.variants import VARIANTS, variants_of
from scaffold.outcome import FileState, Outcome
from scaffold_tools.blueprint.facts import Gap
from scaffold_tools.classify.model import classify
from scaffold_tools.errors import BadInput
from scaffold_tools.source.inventory import Inventory, Source, TensorInfo, TensorTable
from scaffold_tools.verify.evidence import Check, Evidence

from .workers import misbehave

TYPES = ("well", "dies", "hangs", "also-well")


def run(tmp_path: Path, *, types: tuple[str, ...] = TYPES, state: str = "1", **options: Any) -> tuple[Coverage, str]:
    """A run with workers that misbehave; the coverage, and what was told."""
    told: list[str] = []
    settings = dataclasses.replace(Options(variants="none", timeout=8.0), **options)
    store = Store(tmp_path / "results", state)
    coverage = run_matrix(
        settings, types=types, versions={"python": "3"}, store=store, tell=told.append, work=misbehave
    )
    return coverage, "\n".join(told)


def outcomes(coverage: Coverage) -> dict[str, tuple[str, bool]]:
    return {row.model_type: (row.outcome, row.unexplained) for row in coverage.rows}


def test_a_worker_that_dies_or_hangs_costs_its_case_and_nothing_else(tmp_path: Path) -> None:
    coverage, _ = run(tmp_path)
    assert outcomes(coverage) == {
        "well": ("proven", False),
        "dies": ("gap", True),
        "hangs": ("gap", True),
        "also-well": ("proven", False),
    }
    reasons = {row.model_type: row.reason for row in coverage.rows}
    assert "died (exit code 9)" in reasons["dies"]
    assert "within 8 seconds" in reasons["hangs"]


def test_who_stops_listening_leaves_no_process_behind() -> None:
    cases = run_cases([Case("well"), Case("hangs"), Case("hangs", "again")], jobs=2, timeout=60.0, work=misbehave)
    assert next(cases)[0].model_type == "well"
    assert multiprocessing.active_children()
    started = time.monotonic()
    cases.close()
    assert time.monotonic() - started < 10
    assert multiprocessing.active_children() == []


def test_a_worker_that_is_stopped_before_it_starts_starts_nothing(tmp_path: Path) -> None:
    """A thread may be about to start one at the moment in which the run ends."""
    worker = _Worker(misbehave, tmp_path)
    worker.stop()
    assert "stopped" in worker.run(Case("hangs"), 60.0).row.reason
    assert multiprocessing.active_children() == []


def test_a_second_run_measures_only_what_ended_in_no_answer(tmp_path: Path) -> None:
    run(tmp_path, types=("well", "dies"))
    again, told = run(tmp_path, types=("well", "dies"))
    assert again.reused == 1
    assert "1 of 2 results are from an earlier run" in told
    assert "[1/1] dies" in told


def test_fresh_and_other_code_measure_again(tmp_path: Path) -> None:
    run(tmp_path, types=("well",))
    assert run(tmp_path, types=("well",))[0].reused == 1
    assert run(tmp_path, types=("well",), fresh=True)[0].reused == 0
    assert run(tmp_path, types=("well",), state="2")[0].reused == 0


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"key": 1}', "\x00"])
def test_a_damaged_result_file_is_measured_again(tmp_path: Path, damage: str) -> None:
    run(tmp_path, types=("well",))
    file = tmp_path / "results" / "well.json"
    file.write_text(damage)
    again, _ = run(tmp_path, types=("well",))
    assert again.reused == 0
    assert outcomes(again) == {"well": ("proven", False)}


def test_a_result_whose_fields_somebody_changed_is_measured_again(tmp_path: Path) -> None:
    run(tmp_path, types=("well",))
    file = tmp_path / "results" / "well.json"
    value = json.loads(file.read_text())
    value["finished"]["row"]["outcome"] = "splendid"
    file.write_text(json.dumps(value))
    assert run(tmp_path, types=("well",))[0].reused == 0


def test_variants_of_a_proven_type_are_cases_of_their_own(tmp_path: Path) -> None:
    coverage, _ = run(tmp_path, types=("well",), variants="usual")
    assert [(row.model_type, row.variant) for row in coverage.rows] == [
        ("well", "base"),
        ("well", "tie_word_embeddings=true"),
    ]


def test_an_unknown_type_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no causal model type 'nope'"):
        run_matrix(Options(types=("nope",)), types=("well",), versions={}, store=Store(tmp_path, ""), tell=print)


# What an outcome of the pipeline is called

START = Row("x", "base", "XForCausalLM", "gap", "")


def evidence(logits: str) -> Evidence:
    checks = (
        Check("logits.max_abs", logits, 1e-6 if logits == "passed" else 0.3, 1e-4, toy="canary-a"),  # type: ignore[arg-type]
        Check("round_trip.exact", "passed", toy="canary-a"),
    )
    return Evidence("cpu", "x:X", None, checks, {}, 1.0)


def outcome(*, gaps: tuple[Gap, ...] = (), logits: str = "passed", files: tuple[str, ...] = ()) -> Outcome:
    found = evidence(logits)
    states = tuple(FileState(path, "create", "") for path in files)
    return Outcome("x", "X", None, "t", files=states, gaps=gaps, evidence=found, proven=found.proven)


def test_no_gap_and_passed_checks_are_proven() -> None:
    assert row_of(START, outcome()).outcome == "proven"


def test_a_modeling_file_makes_it_proven_with_block() -> None:
    row = row_of(START, outcome(files=("pkg/modeling_x.py", "pkg/x_bridge.py")))
    assert row.outcome == "proven-with-block"
    assert "modeling_x.py" in row.reason


def test_equal_logits_do_not_make_up_for_a_gap() -> None:
    row = row_of(START, outcome(gaps=(Gap("k", "nobody reads it"), Gap("t", "has no role", "modeling_x.py:7"))))
    assert (row.outcome, row.gap_count, row.unexplained) == ("gap", 2, False)
    assert row.hf_source == "modeling_x.py:7"
    assert row.reason == "t: has no role (and 1 more)"


def test_a_probe_that_broke_is_a_fault_of_ours_and_the_reason() -> None:
    """Of what was never measured, the other gaps say nothing."""
    row = row_of(START, outcome(gaps=(Gap("t", "has no role", "modeling_x.py:7"), Gap("probe", "KeyError: 'x'"))))
    assert (row.outcome, row.unexplained) == ("gap", True)
    assert row.reason == "probe: KeyError: 'x' (and 1 more)"


def test_a_class_that_refuses_its_own_config_is_no_fault_of_ours() -> None:
    said = Gap("transformers", "the class does not run with this config", "modeling_x.py:9")
    row = row_of(START, outcome(gaps=(Gap("t", "has no role", "modeling_x.py:7"), said)))
    assert (row.outcome, row.unexplained, row.hf_source) == ("gap", False, "modeling_x.py:9")


def test_failed_logits_without_a_gap_are_visible_as_that() -> None:
    row = row_of(START, outcome(logits="failed"))
    assert (row.outcome, row.unexplained) == ("gap", True)
    assert "no gap was reported, but logits.max_abs failed on canary-a (0.3)" in row.reason
    assert row.logits_max_abs == {"canary-a": 0.3}
    assert row.round_trip == {"canary-a": "passed"}


def broken_reference(*frames: str) -> Outcome:
    detail = f"UnboundLocalError: no 'long_inv_freq' [{' < '.join(frames)}]"
    check = Check("reference.noise", "error", None, toy="canary-a", detail=detail)
    return dataclasses.replace(outcome(), evidence=Evidence("cpu", "x:X", None, (check,), {}, 1.0), proven=False)


def test_a_model_that_breaks_in_transformers_is_named_as_that() -> None:
    theirs = row_of(START, broken_reference("transformers/modeling_rope_utils.py:73", "torch/nn/modules/module.py:9"))
    assert (theirs.outcome, theirs.unexplained, theirs.hf_source) == ("gap", False, "modeling_rope_utils.py:73")
    assert "long_inv_freq" in theirs.reason


def test_a_reference_that_breaks_elsewhere_is_a_fault_of_ours() -> None:
    assert row_of(START, broken_reference("checks/reference.py:20", "transformers/modeling_x.py:3")).unexplained


def test_no_path_of_this_machine_reaches_the_documents() -> None:
    folder = Path("/some/where")
    said = f"ValueError in {folder}/toys/toy-a and /opt/v/lib/python3.12/site-packages/megatron/x.py:3"
    row = _without_places(dataclasses.replace(START, reason=said, gaps=(GapLine("x", said),)), (folder,))
    assert row.reason == row.gaps[0].reason == "ValueError in toys/toy-a and megatron/x.py:3"


# Why an entry is no decoder

DECODER = {"model_type": "x", "vocab_size": 64, "hidden_size": 8, "num_hidden_layers": 2, "architectures": ["XLM"]}
HEALTHY = {"model_config_type": "x", "takes_tokens": None, "causal": True, "leak": None, "cross_attends": False}


def seen(config: dict[str, Any] | None = None, problem: str | None = None, **observed: Any) -> Seen:
    config = DECODER if config is None else config
    answer = {"model_type": "x", "config": config, "observed": HEALTHY | observed}
    if problem:
        answer["problem"] = problem
    return Seen(answer, classify(Inventory(Source("x", "config", "x"), config, None)))


def test_a_patch_among_the_tensors_of_a_class_that_takes_text_alone_is_no_image() -> None:
    tensors = TensorTable(
        (TensorInfo("model.patch_embedding.proj.weight", (8, 3, 2, 2), "F32"),), "transformers-class"
    )
    found = classify(Inventory(Source("x", "config", "x"), DECODER, tensors))
    assert found.modality == "vlm"
    answer = {"model_type": "x", "config": DECODER, "observed": HEALTHY}
    assert why_not_a_decoder(Seen(answer | {"inputs": ["input_ids", "attention_mask"]}, found)) is None
    assert "images" in str(why_not_a_decoder(Seen(answer | {"inputs": ["input_ids", "pixel_values"]}, found)))


NOT = {
    "parts": seen(DECODER | {"text_config": None}, problem="AttributeError: no vocab_size"),
    "half": seen(DECODER | {"is_encoder_decoder": True}, cross_attends=True),
    "wrapper": seen({"model_type": "x", "text_config": DECODER, "vision_config": {"patch_size": 14, "depth": 2}}),
    "alias": seen(DECODER | {"text_config": DECODER}, model_config_type="x_text", has_entry=True),
    "not causal": seen(causal=False, leak="changing token 36 changes the logits of token 0 by up to 0.1"),
    "cross-attention": seen(cross_attends=True),
}


def test_a_causal_decoder_is_none_of_them() -> None:
    assert why_not_a_decoder(seen()) is None


def test_a_language_part_that_has_no_entry_of_its_own_is_a_decoder() -> None:
    assert why_not_a_decoder(seen(DECODER | {"text_config": DECODER}, model_config_type="x_text")) is None


def test_a_decoder_whose_class_does_not_build_is_still_no_reason() -> None:
    assert why_not_a_decoder(seen(problem="TypeError: empty()")) is None


def test_every_row_has_a_test() -> None:
    assert set(NOT) == {row.name for row in NOT_DECODERS}


@pytest.mark.parametrize("name", NOT)
def test_the_row_gives_its_reason(name: str) -> None:
    row = next(row for row in NOT_DECODERS if row.name == name)
    assert row.applies(NOT[name])
    assert not row.applies(seen())
    assert why_not_a_decoder(NOT[name]) == row.reason(NOT[name])


# Variants

FULL: dict[str, Any] = {
    "hidden_size": 256,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": None,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "partial_rotary_factor": 0.5,
    "layer_types": ["full_attention"] * 6,
    "sliding_window": None,
    "hidden_act": "silu",
    "mlp_layer_types": ["sparse"] * 6,
    "decoder_sparse_step": 1,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "routed_scaling_factor": 1.0,
    "scoring_func": "softplus",
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
    "q_lora_rank": 32,
    "clip_qkv": None,
    "tie_word_embeddings": False,
}
WINDOWED = {"sliding_window": 4096}


def test_every_row_applies_to_a_config_that_has_its_keys() -> None:
    names = {name for config in (FULL, WINDOWED) for name, _ in variants_of(config, every=True)}
    expected = {row.name for row in VARIANTS} - {"windows-none"}  # FULL has none to begin with
    assert expected - names == {"moe-sparse-everywhere"}  # nor dense layers
    assert "tie_word_embeddings=true" in names


def test_a_config_without_the_keys_has_no_variants() -> None:
    assert variants_of({"hidden_size": 64, "use_cache": True}, every=True) == []


def test_a_variant_that_changes_nothing_is_none() -> None:
    assert "heads-mqa" not in {name for name, _ in variants_of(FULL | {"num_key_value_heads": 1}, every=True)}


def test_a_rope_variant_keeps_base_and_share() -> None:
    config = FULL | {"rope_parameters": FULL["rope_parameters"] | {"partial_rotary_factor": 0.5}}
    rope = dict(variants_of(config, every=True))["rope-linear"]["rope_parameters"]
    assert rope == {"rope_theta": 10000.0, "partial_rotary_factor": 0.5, "rope_type": "linear", "factor": 2.5}


def test_where_layer_kinds_have_a_table_each_one_of_them_changes() -> None:
    table = {"rope_type": "default", "rope_theta": 10.0}
    config = FULL | {"rope_parameters": {"full_attention": table, "sliding_attention": table}}
    rope = dict(variants_of(config, every=True))["rope-linear"]["rope_parameters"]
    assert rope["full_attention"]["rope_type"] == "linear"
    assert rope["sliding_attention"] == table


def test_the_usual_rows_are_few() -> None:
    usual = {name for name, _ in variants_of(FULL, every=False)}
    assert usual < {name for name, _ in variants_of(FULL, every=True)}
    assert len(usual) <= 6


# The documents


def test_the_page_shows_counts_failures_and_hostile_names_harmlessly(tmp_path: Path) -> None:
    bad = dataclasses.replace(START, model_type="a|b`c", reason="<script> | x", unexplained=True)
    good = dataclasses.replace(START, model_type="llama", outcome="proven", logits_max_abs={"canary-a": 1e-6})
    coverage = Coverage((good, bad), refused=1, reused=0, versions={"torch": "2"}, seconds=1.0)
    json_file, page = report.write_docs(coverage, tmp_path)
    assert [row["outcome"] for row in json.loads(json_file.read_text())] == ["proven", "gap"]
    text = page.read_text()
    assert "`a/b'c`" in text
    assert "<script>" not in text
    assert "1 of 2 decoder types proven" in text
    assert summary(coverage)["unexplained"] == 1


def test_names_of_cases_are_safe_files() -> None:
    assert Case("../x", "a/b=true").name == ".._x--a_b_true"
    assert Finished(None, refused="no").row is None
