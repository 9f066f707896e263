"""The first divergence is named, and why; where nothing is wrong, nothing is."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from mutants import MUTANTS, Mutant, write_package
from test_verify import CONFIGS

from scaffold import heat_strip
from scaffold.cli import run
from scaffold_tools.verify.lane import LaneSession
from scaffold_tools.verify.locate import Divergence, Site, locate_divergence
from scaffold_tools.verify.run import Integration

LOGITS = tuple(mutant for mutant in MUTANTS if mutant.located)
BY_NAME = {mutant.name: mutant for mutant in MUTANTS}


def locate(lane: LaneSession, architecture: str, integration: Integration, **changes: Any) -> Divergence:
    config = CONFIGS[architecture] | {"architectures": [architecture]} | changes
    return locate_divergence(lane, integration, config=config, architecture=architecture)


def of(lane: LaneSession, folder: Path, name: str) -> Divergence:
    mutant = BY_NAME[name]
    integration = Integration("package", folder, write_package(folder, mutant))
    return locate(lane, mutant.base.architecture, integration)


@pytest.mark.lane
@pytest.mark.parametrize("mutant", LOGITS, ids=lambda mutant: mutant.name)
def test_a_mistake_is_located(lane: LaneSession, tmp_path: Path, mutant: Mutant) -> None:
    divergence = of(lane, tmp_path, mutant.name)
    assert divergence.found is not None
    assert re.fullmatch(mutant.located, divergence.found.culprit)
    assert not any(site.differs for site in divergence.sites[: divergence.first])


@pytest.mark.lane
@pytest.mark.parametrize(
    ("name", "cause", "evidence"),
    [
        ("rope_base_off_by_a_percent", "rotary embedding", "those between tokens do not"),
        ("eps_left_at_its_default", "norm epsilon", "epsilon is 1e-05 here and 0.0113 in Hugging Face"),
        ("zero_centred_norms", "norm offset or weight", r"w is used as 1 \+ w"),
        (
            "another_activation",
            "activation",
            r"gelu\(gate_proj\) \* up_proj, Hugging Face silu\(gate_proj\) \* up_proj",
        ),
        (
            "gate_and_up_swapped",
            "activation",
            r"silu\(up_proj\) \* gate_proj, Hugging Face silu\(gate_proj\) \* up_proj",
        ),
        ("softmax_scale", "a factor", r"times the right one"),
        ("window_too_wide_by_one", "window", "the first 5 of 37 tokens agree"),
        ("biases_dropped", "missing or extra bias", "does not depend on the token"),
        ("norms_swapped", "a value of another place", "Megatron has here what"),
    ],
)
def test_the_cause_is_said_with_its_evidence(
    lane: LaneSession, tmp_path: Path, name: str, cause: str, evidence: str
) -> None:
    causes = {one.cause: one.evidence for one in of(lane, tmp_path, name).causes}
    assert re.search(evidence, causes[cause])


@pytest.mark.lane
@pytest.mark.parametrize("architecture", ["Qwen3ForCausalLM", "LlamaForCausalLM"])
def test_right_bridges_diverge_nowhere(lane: LaneSession, architecture: str) -> None:
    divergence = locate(lane, architecture, Integration("installed"))
    assert divergence.agrees
    assert {site.what for site in divergence.sites} >= {"input", "normed", "output", "scores", "context", "logits"}
    assert divergence.causes == ()


@pytest.mark.lane
def test_upstream_gemma2_ignores_the_epsilon_of_its_post_norm(lane: LaneSession) -> None:
    divergence = locate(lane, "Gemma2ForCausalLM", Integration("installed"))
    assert divergence.found is not None
    assert divergence.found.culprit == "decoder.layers.0.self_attention.linear_proj.post_layernorm"
    assert [one.cause for one in divergence.causes] == ["norm epsilon"]


@pytest.mark.lane
def test_an_import_that_fails_is_a_problem_and_no_agreement(lane: LaneSession, tmp_path: Path) -> None:
    divergence = of(lane, tmp_path, "a_parameter_that_nothing_fills")
    assert divergence.problems
    assert not divergence.agrees


@pytest.mark.lane
def test_a_bridge_written_by_hand_is_verified_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_package(tmp_path, dataclasses.replace(BY_NAME["gate_and_up_swapped"], name="by_hand"))
    model = tmp_path / "model"
    model.mkdir()
    config = CONFIGS["Qwen3ForCausalLM"] | {"architectures": ["Qwen3ForCausalLM"]}
    (model / "config.json").write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path)
    bridge = "mutant_by_hand:TestedBridge"
    assert run(["verify", "--bridge", bridge, "--hf", str(model), "--locate", "--json"]) == 1
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["evidence"]["bridge"] == bridge
    assert outcome["divergence"]["sites"][outcome["divergence"]["first"]]["culprit"] == "decoder.layers.0.mlp"
    assert (Path(outcome["run_folder"]) / "divergence.html").is_file()
    other = "mutant_by_hand:AnotherBridge"
    assert run(["verify", "--bridge", other, "--hf", str(model), "--json"]) == 1
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["evidence"]["checks"]}
    assert checks["registration"]["status"] == "failed"
    assert checks["registration"]["threshold"] == other


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--bridge", "module:Class"], "--bridge and --hf go together"),
        (["--bridge", "no class", "--hf", "x"], "is not module:Class"),
        (["--repo", "."], "say where a --bridge lies"),
        (["a-run", "--bridge", "a:B", "--hf", "x"], "give a run or a --bridge, not both"),
    ],
)
def test_bad_usage_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_the_picture_loads_nothing_and_escapes_every_name() -> None:
    site = dict.fromkeys(("megatron", "hugging_face", "culprit"), "<script>alert(1)</script>")
    one: dict[str, Any] = {
        "what": "output",
        "layer": 3,
        "max_abs": None,
        "relative": None,
        "limit": 1e-5,
        "differs": True,
    }
    made = Site(**site, **one, first_position=2, positions=3)
    page = heat_strip.render(Divergence("m:<B>", "canary-a", (made,), 0, (), ("<img src=x>",)))
    assert "<script" not in page
    assert "<img" not in page
    assert "http://" not in page
    assert "https://" not in page
    assert "&lt;script&gt;" in page


def test_a_divergence_without_values_is_no_agreement() -> None:
    assert not Divergence("m:B", "canary-a", (), None, (), ()).agrees
