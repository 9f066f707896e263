"""The job that tells decoders from other entries of transformers' causal mapping, by what their toys do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from toys.repairs import repaired

from scaffold import cli
from scaffold.lane import EarlyLane
from scaffold.matrix.case import run_case
from scaffold.matrix.values import Case, Row
from scaffold_tools.verify.lane_env import find_lane

needs_lane = pytest.mark.lane


def describe(open_lane: EarlyLane, model_type: str) -> dict[str, Any]:
    return open_lane.call("causal_types", {"action": "describe", "model_type": model_type})


@needs_lane
def test_the_list_is_that_of_transformers(open_lane: EarlyLane) -> None:
    rows = open_lane.call("causal_types", {"action": "list"})["types"]
    found = {row["model_type"]: row["architecture"] for row in rows}
    assert len(found) > 150
    assert found["llama"] == "LlamaForCausalLM"
    assert found["bert"] == "BertLMHeadModel"


@needs_lane
def test_a_later_token_does_not_reach_back_in_a_decoder(open_lane: EarlyLane) -> None:
    answer = describe(open_lane, "qwen2")
    assert answer["observed"]["causal"] is True
    assert answer["observed"]["repeats_within"] == 0.0
    assert answer["config"]["architectures"] == ["Qwen2ForCausalLM"]
    assert "transformers_version" not in answer["config"]


@needs_lane
def test_a_later_token_reaches_back_in_an_encoder(open_lane: EarlyLane) -> None:
    """The negative control of the one above."""
    observed = describe(open_lane, "bert")["observed"]
    assert observed["causal"] is False
    assert "changes the logits of token 0" in observed["leak"]


@needs_lane
def test_decay_tables_in_saved_buffers_are_not_taken_for_weights(open_lane: EarlyLane) -> None:
    """With its buffers randomised as well, this class would look as if later tokens reached back."""
    assert describe(open_lane, "minimax")["observed"]["causal"] is True


@needs_lane
def test_the_half_of_an_encoder_decoder_follows_the_other_half(open_lane: EarlyLane) -> None:
    answer = describe(open_lane, "bart")
    assert answer["config"]["is_encoder_decoder"] is True
    assert answer["observed"]["cross_attends"] is True
    assert describe(open_lane, "gpt2")["observed"]["cross_attends"] is False


@needs_lane
def test_a_size_that_defaults_to_nothing_is_filled_in_and_said(open_lane: EarlyLane) -> None:
    answer = describe(open_lane, "hunyuan_v1_dense")
    assert answer["config"]["head_dim"] == answer["config"]["hidden_size"] // answer["config"]["num_attention_heads"]
    assert answer["repairs"] == ["head_dim = 128 (hidden size / heads)"]


@needs_lane
def test_a_class_that_refuses_its_own_defaults_is_quoted(open_lane: EarlyLane) -> None:
    answer = describe(open_lane, "musicgen")
    assert answer["config"] is None
    assert "text_encoder" in answer["problem"]


@needs_lane
def test_what_no_toy_can_run_since_the_class_does_not_is_told_from_a_broken_toy(
    open_lane: EarlyLane, tmp_path: Path
) -> None:
    found = row("dbrx", open_lane, tmp_path)
    assert (found.outcome, found.unexplained) == ("gap", False)
    assert found.reason.startswith("transformers: the class does not run with this config")
    assert found.hf_source is not None and found.hf_source.startswith("modeling_dbrx.py:")


def row(model_type: str, open_lane: EarlyLane, folder: Path) -> Row:
    """What the matrix says of one type."""
    found = run_case(Case(model_type), open_lane, folder).row
    assert found is not None
    return found


@needs_lane
def test_a_wrapper_is_one_even_where_its_class_cannot_be_built(open_lane: EarlyLane, tmp_path: Path) -> None:
    assert "timm" in describe(open_lane, "gemma3n")["problem"]
    found = row("gemma3n", open_lane, tmp_path)
    assert found.outcome == "not-a-decoder"
    assert "vision_config" in found.reason


@needs_lane
def test_a_wrapper_that_only_its_tensors_show_is_one(open_lane: EarlyLane, tmp_path: Path) -> None:
    assert "images" in row("fuyu", open_lane, tmp_path).reason


@needs_lane
def test_a_broken_model_is_a_row_with_its_error(open_lane: EarlyLane, tmp_path: Path) -> None:
    found = row("no-such-type", open_lane, tmp_path)
    assert (found.outcome, found.unexplained) == ("gap", True)
    assert "no-such-type" in found.reason


@needs_lane
def test_a_variant_that_the_class_refuses_is_no_model(open_lane: EarlyLane, tmp_path: Path) -> None:
    config = describe(open_lane, "qwen2")["config"] | {"hidden_act": "no-such-function"}
    finished = run_case(Case("qwen2", "activation", config), open_lane, tmp_path)
    assert finished.row is None
    assert "no-such-function" in finished.refused


@needs_lane
def test_the_command_writes_both_documents_and_one_line(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lane = find_lane()
    assert lane is not None
    monkeypatch.setenv("SCAFFOLD_LANE_PYTHON", str(lane.python))  # the lane lies in the cache that is moved next
    monkeypatch.setenv("SCAFFOLD_CACHE", str(workdir / "cache"))
    code = cli.run(["matrix", "--types", "qwen2,bert", "--variants", "none", "--jobs", "1", "--out", "docs"])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert out == (
        "1 of 1 decoder types proven (0 with custom blocks), 0 with gaps, 1 of 2 not decoders;"
        " 0 of 0 variants proven; 0 unexplained failures\n"
    )
    rows = {row["model_type"]: row for row in json.loads((workdir / "docs" / "coverage.json").read_text())}
    assert rows["bert"]["outcome"] == "not-a-decoder"
    assert rows["qwen2"]["outcome"] == "proven"
    assert rows["qwen2"]["round_trip"] == {"canary-a": "passed", "canary-b": "passed"}
    assert all(value < 1e-4 for value in rows["qwen2"]["logits_max_abs"].values())
    assert rows["qwen2"]["peak_mb"] > 100
    assert "`qwen2`" in (workdir / "docs" / "coverage.md").read_text()


# Repairs: plain Python


def needs(**wanted: Any) -> Any:
    """A class that refuses a config in which a key does not have a value of that type."""

    def check(config: dict[str, Any]) -> None:
        for key, kind in wanted.items():
            if not isinstance(config.get(key), kind):
                raise TypeError(f"{key} is {config.get(key)!r}")

    return check


def test_what_builds_is_left_alone() -> None:
    config = {"head_dim": None, "hidden_size": 64, "num_attention_heads": 4}
    assert repaired(config, needs()) == (config, [])


def test_the_fewest_repairs_that_help_are_made() -> None:
    config = {"head_dim": None, "num_key_value_heads": None, "hidden_size": 64, "num_attention_heads": 4}
    found, said = repaired(config, needs(head_dim=int))
    assert found == config | {"head_dim": 16}
    assert said == ["head_dim = 16 (hidden size / heads)"]
    found, said = repaired(config, needs(head_dim=int, num_key_value_heads=int))
    assert (found["head_dim"], found["num_key_value_heads"], len(said)) == (16, 4, 2)


def test_what_no_repair_helps_says_what_the_class_said() -> None:
    with pytest.raises(TypeError, match="magic is None"):
        repaired({"head_dim": None, "hidden_size": 64, "num_attention_heads": 4}, needs(magic=int))


def test_a_key_that_has_a_value_is_never_changed() -> None:
    with pytest.raises(TypeError, match="head_dim is '16'"):
        repaired({"head_dim": "16", "hidden_size": 64, "num_attention_heads": 4}, needs(head_dim=int))


class _Inner:
    base_config_key = "attn_config"


def test_an_attribute_that_a_nested_config_lacks_is_put_where_the_class_looks_for_it() -> None:
    def check(config: dict[str, Any]) -> None:
        if "rope_theta" not in config["attn_config"]:
            raise AttributeError("no rope_theta", name="rope_theta", obj=_Inner())

    found, said = repaired({"attn_config": {"a": 1}}, check)
    assert found == {"attn_config": {"a": 1, "rope_theta": 10000.0}}
    assert len(said) == 1
