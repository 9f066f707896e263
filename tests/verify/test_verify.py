"""Verification proves what is right and catches what is wrong; each mistake here was made on purpose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mutants import GEMMA2, MISTRAL, MUTANTS, QWEN2, QWEN3, SIZES, Base, Mutant, write_package

from scaffold_tools import jsonio
from scaffold_tools.verify.checks import CHECKS
from scaffold_tools.verify.evidence import Evidence
from scaffold_tools.verify.lane import LaneJobFailed, LaneSession
from scaffold_tools.verify.run import Integration, verify_integration

pytestmark = pytest.mark.lane

BODY: dict[str, Any] = SIZES | {"rope_theta": 1000000, "tie_word_embeddings": False}
CONFIGS: dict[str, dict[str, Any]] = {
    "Qwen3ForCausalLM": BODY | {"model_type": "qwen3", "head_dim": 128},
    "Qwen2ForCausalLM": BODY | {"model_type": "qwen2"},
    "MistralForCausalLM": BODY | {"model_type": "mistral", "head_dim": 128, "sliding_window": 4096},
    "LlamaForCausalLM": BODY | {"model_type": "llama"},
    "NemotronForCausalLM": {key: value for key, value in BODY.items() if key not in ("rms_norm_eps", "hidden_act")}
    | {"model_type": "nemotron", "norm_eps": 1e-5, "hidden_act": "relu2", "partial_rotary_factor": 0.5},
    "GemmaForCausalLM": BODY
    | {"model_type": "gemma", "head_dim": 256, "hidden_act": "gelu_pytorch_tanh", "tie_word_embeddings": True},
    "Gemma2ForCausalLM": BODY
    | {"model_type": "gemma2", "head_dim": 256, "sliding_window": 4096, "tie_word_embeddings": True}
    | {"query_pre_attn_scalar": 256, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
}
INSTALLED = Integration("installed")
OTHER_LOGITS = {"logits.padded", "logits.fusions", "generation.greedy"}
"""They fail with `logits.max_abs`, most of them."""


def prove(
    lane: LaneSession, architecture: str, workdir: Path, integration: Integration = INSTALLED, **changes: Any
) -> Evidence:
    variants = changes.pop("variants", ("a", "b", "square"))
    config = CONFIGS[architecture] | {"architectures": [architecture]} | changes
    return verify_integration(
        lane, integration, config=config, architecture=architecture, workdir=workdir, variants=variants
    )


def bad(evidence: Evidence) -> set[str]:
    return {check.name for check in evidence.checks if check.status in ("failed", "error")}


def packaged(folder: Path, mutant: Mutant) -> Integration:
    return Integration("package", folder, write_package(folder, mutant))


OTHERS = (
    *("stored.", "static.", "square.", "sharded.", "saved.", "trained.", "gpu.", "config.keys", "generation.real"),
    *("lint.", "experts.", "logits.as_called"),
)
"""Checks of other jobs, of other toys, of other targets."""


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("Qwen3ForCausalLM", {}),
        ("Qwen3ForCausalLM", {"tie_word_embeddings": True}),
        ("Qwen2ForCausalLM", {}),
        ("MistralForCausalLM", {}),
        ("LlamaForCausalLM", {}),
        ("LlamaForCausalLM", {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
        ("NemotronForCausalLM", {}),
        ("GemmaForCausalLM", {}),
    ],
)
def test_right_bridges_are_proven(
    lane: LaneSession, tmp_path: Path, architecture: str, changes: dict[str, Any]
) -> None:
    evidence = prove(lane, architecture, tmp_path, **changes)
    assert bad(evidence) == set()
    assert evidence.proven
    every = [kind.name for kind in CHECKS if not kind.name.startswith(OTHERS)]
    assert [check.name for check in evidence.checks] == [*every, *every, "square.round_trip", "square.logits"]
    assert {check.name for check in evidence.checks if check.status != "passed"} <= {"logits.fusions"}


@pytest.mark.parametrize(
    ("architecture", "changes", "caught_by"),
    [
        ("LlamaForCausalLM", {"attention_bias": True}, "import.hf_consumed"),
        ("LlamaForCausalLM", {"mlp_bias": True}, "import.hf_consumed"),
        (
            "LlamaForCausalLM",
            {
                "rope_scaling": {
                    "rope_type": "llama3",
                    "factor": 8.0,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 8192,
                }
            },
            "logits.max_abs",
        ),
        ("Qwen2ForCausalLM", {"use_sliding_window": True, "max_window_layers": 14}, "logits.max_abs"),
    ],
)
def test_errors_of_upstream_bridges_are_found(
    lane: LaneSession, tmp_path: Path, architecture: str, changes: dict[str, Any], caught_by: str
) -> None:
    evidence = prove(lane, architecture, tmp_path, **changes)
    assert caught_by in bad(evidence)
    assert not evidence.proven


@pytest.mark.parametrize("base", [QWEN3, QWEN2, MISTRAL], ids=lambda base: base.bridge)
def test_a_package_without_a_mistake_is_proven_and_replaces_what_was_there(
    lane: LaneSession, tmp_path: Path, base: Base
) -> None:
    """The control of the controls: what fails below fails for the mistake, not for how the packages are made."""
    evidence = prove(lane, base.architecture, tmp_path, packaged(tmp_path, Mutant("none", base=base)))
    assert evidence.proven
    assert evidence.bridge == "mutant_none:TestedBridge"
    assert evidence.replaced == f"{base.module}:{base.bridge}"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mistake_is_caught(lane: LaneSession, tmp_path: Path, mutant: Mutant) -> None:
    evidence = prove(lane, mutant.base.architecture, tmp_path, packaged(tmp_path, mutant), variants=mutant.toys)
    assert set(mutant.caught_by) <= bad(evidence)
    assert not evidence.proven
    round_trip = next(check for check in evidence.checks if check.name == "round_trip.exact")
    assert (round_trip.status == "passed") == mutant.exact_round_trip


def test_round_trip_and_cosine_cannot_see_a_rope_base_off_by_a_percent(lane: LaneSession, tmp_path: Path) -> None:
    """Why the largest difference decides."""
    mutant = Mutant("rope", "provider.rotary_base *= 1.001")
    evidence = prove(lane, "Qwen3ForCausalLM", tmp_path, packaged(tmp_path, mutant), variants=("a",))
    assert bad(evidence) - OTHER_LOGITS == {"logits.max_abs"}


def test_a_hard_coded_number_cannot_pass_both_toys(lane: LaneSession, tmp_path: Path) -> None:
    mutant = Mutant("constant", "provider.rotary_base = 7351.0")
    evidence = prove(lane, "Qwen3ForCausalLM", tmp_path, packaged(tmp_path, mutant))
    by_toy = {check.toy: check.status for check in evidence.checks if check.name == "logits.max_abs"}
    assert by_toy == {"canary-a": "passed", "canary-b": "failed"}


def test_a_post_norm_with_its_default_eps_is_caught(lane: LaneSession, tmp_path: Path) -> None:
    """Megatron-Bridge 0.6 builds Gemma 2's norms after attention and MLP with eps 1e-5, whatever the config says."""
    found = bad(prove(lane, "Gemma2ForCausalLM", tmp_path / "upstream"))
    assert found - OTHER_LOGITS == {"logits.max_abs", "logits.cosine", "square.logits"}
    repair = (
        "from megatron.bridge.models.common import te_layers; norm = te_layers.TENorm; "
        "te_layers.TENorm = lambda config, size, eps=None: norm(config, size, config.layernorm_epsilon)"
    )
    repaired = Mutant("repaired", repair, base=GEMMA2)
    assert prove(lane, "Gemma2ForCausalLM", tmp_path / "ours", packaged(tmp_path, repaired)).proven


def test_a_crash_of_import_names_the_parameter_without_a_mapping(lane: LaneSession, tmp_path: Path) -> None:
    evidence = prove(lane, "LlamaForCausalLM", tmp_path, variants=("a",), attention_bias=True)
    broken = next(check for check in evidence.checks if check.name == "import.hf_consumed")
    assert broken.status == "error"
    assert "linear_qkv.bias" in broken.detail


def test_a_package_that_registers_nothing_is_not_the_one_that_is_picked(lane: LaneSession, tmp_path: Path) -> None:
    (tmp_path / "empty_package").mkdir()
    (tmp_path / "empty_package" / "__init__.py").write_text("")
    evidence = prove(lane, "Qwen3ForCausalLM", tmp_path, Integration("package", tmp_path, "empty_package"))
    assert bad(evidence) == {"registration"}
    assert evidence.replaced is None
    assert not evidence.proven


def test_a_package_that_does_not_import_is_an_error_with_its_traceback(lane: LaneSession, tmp_path: Path) -> None:
    (tmp_path / "broken_package.py").write_text("import no_such_module_anywhere\n")
    with pytest.raises(LaneJobFailed, match="no_such_module_anywhere") as failed:
        prove(lane, "Qwen3ForCausalLM", tmp_path, Integration("package", tmp_path, "broken_package"))
    assert "broken_package.py" in failed.value.traceback


def test_an_architecture_without_a_bridge_is_reported_not_raised(lane: LaneSession, tmp_path: Path) -> None:
    CONFIGS.setdefault("Starcoder2ForCausalLM", BODY | {"model_type": "starcoder2"})
    evidence = prove(lane, "Starcoder2ForCausalLM", tmp_path, variants=("a",))
    assert bad(evidence) == {"registration"}
    skipped = [check.name for check in evidence.checks if check.status == "skipped"]
    assert "logits.max_abs" in skipped
    assert not evidence.proven


def test_evidence_is_json_and_says_where_it_was_measured(lane: LaneSession, tmp_path: Path) -> None:
    evidence = prove(lane, "Qwen3ForCausalLM", tmp_path, variants=("a",))
    assert jsonio.loads(Evidence, jsonio.dumps(evidence)) == evidence
    environment = evidence.environment
    assert environment["transformer_engine"] == "stand-in"
    assert environment["python"].startswith("3.12")
    assert {"torch", "transformers", "megatron-core", "megatron-bridge", "threads", "provider"} <= set(environment)
    assert json.loads(jsonio.dumps(evidence))["seconds"] > 0


def test_the_same_request_measures_the_same_figures(lane: LaneSession, tmp_path: Path) -> None:
    runs = [prove(lane, "Qwen3ForCausalLM", tmp_path / str(run), variants=("a",)) for run in range(2)]
    first, second = ([(check.name, check.status, check.value) for check in run.checks] for run in runs)
    assert first == second


def test_checks_of_padding_fusions_and_generation_fail_for_what_they_are_there_for(lane: LaneSession) -> None:
    faults = {
        "none": None,
        "looks ahead": "logits.padded",
        "fused alone is right": "logits.fusions",
        "writes otherwise": "generation.greedy",
    }
    found = lane.call("control_checks", {"faults": list(faults)})
    assert set(found["none"].values()) == {"passed"}
    for fault, check in faults.items():
        assert check is None or found[fault][check] == "failed"
    assert found["fused alone is right"] == found["none"] | {"logits.fusions": "failed"}
