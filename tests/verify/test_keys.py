"""An integration that does not follow a key of the config is named with the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mutants import QWEN2, Mutant
from test_verify import CONFIGS, INSTALLED, packaged

from scaffold_tools.verify.keys import Keys, verify_keys
from scaffold_tools.verify.lane import LaneSession
from scaffold_tools.verify.run import Integration

pytestmark = pytest.mark.lane


def keys(lane: LaneSession, architecture: str, integration: Integration = INSTALLED, **changes: Any) -> Keys:
    config = CONFIGS[architecture] | {"architectures": [architecture]} | changes
    return verify_keys(lane, integration, config=config, architecture=architecture)


def test_a_right_bridge_follows_every_key_that_moves_logits(lane: LaneSession) -> None:
    found = keys(lane, "Qwen3ForCausalLM")
    assert [(one.name, one.status) for one in found.checks] == [("config.keys", "passed")]
    followed = {key for key, word in found.keys.items() if word == "follows"}
    assert {"rms_norm_eps", "hidden_act", "rope_theta"} <= followed
    assert set(found.keys.values()) <= {"follows", "refused", "still", "tensors"}


def test_a_bridge_that_ignores_one_key_is_caught_with_its_name(lane: LaneSession, tmp_path: Path) -> None:
    """Both toys have the same activation, so neither sees that it is written into the bridge."""
    fixed = Mutant("fixed_activation", "provider.activation_func = torch.nn.functional.silu", base=QWEN2)
    found = keys(lane, "Qwen2ForCausalLM", packaged(tmp_path, fixed))
    assert found.keys["hidden_act"] == "ignored"
    assert found.checks[0].status == "failed"
    assert "hidden_act (ignored)" in found.checks[0].detail


def test_of_numbers_that_are_changed_together_the_wrong_one_is_found(lane: LaneSession, tmp_path: Path) -> None:
    fixed = Mutant("fixed_eps", "provider.layernorm_epsilon = 0.0113", base=QWEN2)  # what toy `a` has
    found = keys(lane, "Qwen2ForCausalLM", packaged(tmp_path, fixed))
    assert found.keys["rms_norm_eps"] == "ignored"
    assert found.keys["hidden_act"] == "follows"


def test_upstreams_mistral_has_one_activation_whatever_the_config_says(lane: LaneSession) -> None:
    found = keys(lane, "MistralForCausalLM")
    assert {key for key, word in found.keys.items() if word not in ("follows", "still", "tensors")} == {"hidden_act"}
    assert found.keys["sliding_window"] == "follows"


def test_of_models_that_differ_already_nothing_is_said(lane: LaneSession) -> None:
    found = keys(lane, "Gemma2ForCausalLM")
    assert [(one.status, found.keys) for one in found.checks] == [("skipped", {})]
