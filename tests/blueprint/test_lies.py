"""A config that says something else than the code or the tensors do is caught, and it loses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from blueprint.models import CLAIMS
from scaffold_tools.blueprint.derive import derive_blueprint
from scaffold_tools.blueprint.probing import probe_model
from scaffold_tools.source.inventory import Inventory, Source, TensorInfo, TensorTable
from scaffold_tools.verify.lane import LaneSession

pytestmark = pytest.mark.lane


def probed(lane: LaneSession, name: str, **changed: Any) -> tuple[Inventory, dict[str, Any]]:
    config = next(one for one in CLAIMS if one.name == name).full_config() | changed
    inventory = Inventory(Source("config.json", "config", "example"), config, None)
    return inventory, probe_model(lane, inventory)


def table_of(observations: dict[str, Any], layers: int) -> list[TensorInfo]:
    names = [name for name in observations["variants"]["a"]["names"] if ".layers." not in name or ".layers.0." in name]
    return [
        TensorInfo(name.replace(".layers.0.", f".layers.{layer}."), (8, 8), "BF16")
        for name in names
        for layer in range(layers if ".layers.0." in name else 1)
    ]


def with_tensors(inventory: Inventory, tensors: list[TensorInfo]) -> Inventory:
    return replace(inventory, tensors=TensorTable(tuple(tensors), "headers"))


def test_a_key_that_the_code_ignores_is_not_believed(lane: LaneSession) -> None:
    """Qwen2's code has q, k and v biases whatever `attention_bias` says."""
    inventory, observations = probed(lane, "qwen2", attention_bias=False)
    blueprint = derive_blueprint(inventory, None, observations)
    assert blueprint.value("bias.qkv") is True
    assert any("attention_bias is False" in note for note in blueprint.notes)


def test_biases_in_the_checkpoint_win_over_the_config(lane: LaneSession) -> None:
    inventory, observations = probed(lane, "llama")
    tensors = table_of(observations, 6)
    honest = derive_blueprint(with_tensors(inventory, tensors), None, observations)
    assert honest.value("bias.qkv") is False and honest.gaps == ()
    biased = [*tensors, *(TensorInfo(f"model.layers.{i}.self_attn.q_proj.bias", (8,), "BF16") for i in range(6))]
    blueprint = derive_blueprint(with_tensors(inventory, biased), None, observations)
    fact = blueprint.fact("bias.qkv")
    assert fact is not None and fact.value is True and fact.certainty == "constrained"
    assert any("tensors win: bias.qkv" in note for note in blueprint.notes)


def test_a_checkpoint_without_a_head_is_tied_whatever_the_config_says(lane: LaneSession) -> None:
    inventory, observations = probed(lane, "llama")
    tensors = [info for info in table_of(observations, 6) if info.name != "lm_head.weight"]
    blueprint = derive_blueprint(with_tensors(inventory, tensors), None, observations)
    fact = blueprint.fact("tied_embeddings")
    assert fact is not None and fact.value is True and fact.certainty == "constrained"


def test_an_activation_key_that_the_code_does_not_follow_is_noted(lane: LaneSession) -> None:
    inventory, observations = probed(lane, "llama")
    for variant in observations["variants"].values():
        variant["facts"]["mlp.activation"] = "gelu_tanh"
    observations["real"]["hidden_act"] = "gelu"
    blueprint = derive_blueprint(inventory, None, observations)
    assert blueprint.value("mlp.activation") == "gelu_tanh"
    assert "config lies: hidden_act is 'gelu', the code computes gelu_tanh" in blueprint.notes


def test_a_key_that_is_read_and_changes_logits_but_no_fact_uses_blocks(lane: LaneSession) -> None:
    inventory, observations = probed(lane, "llama")
    first = observations["variants"]["a"]
    first["reads"]["strange_gain"] = "modeling_llama.py:1"
    first["effects"]["strange_gain"] = "logits"
    config = inventory.config | {"strange_gain": 1.25}
    blueprint = derive_blueprint(replace(inventory, config=config), None, observations)
    assert [gap.subject for gap in blueprint.gaps] == ["strange_gain"]
    first["effects"]["strange_gain"] = "none"
    assert derive_blueprint(replace(inventory, config=config), None, observations).gaps == ()
