"""A config that says something else than the code or the tensors do is caught, and it loses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from blueprint.models import CLAIMS
from scaffold_tools.blueprint.derive import derive_blueprint
from scaffold_tools.blueprint.facts import Fact, Product, Term
from scaffold_tools.blueprint.lies import declared_lies
from scaffold_tools.blueprint.probing import probe_model
from scaffold_tools.source.inventory import Inventory, Source, TensorInfo, TensorTable
from scaffold_tools.verify.lane import LaneSession

pytestmark = pytest.mark.lane


def probed(lane: LaneSession, name: str, **changed: Any) -> tuple[Inventory, dict[str, Any]]:
    config = next(one for one in CLAIMS if one.name == name).full_config() | changed
    inventory = Inventory(Source("config.json", "config", "example"), config, None)
    return inventory, probe_model(lane, inventory)


def table_of(lane: LaneSession, inventory: Inventory) -> list[TensorInfo]:
    """The tensors of an honest checkpoint."""
    found = lane.call(
        "tensor_table", {"config": inventory.config, "architecture": inventory.config["architectures"][0]}
    )
    return [TensorInfo(row["name"], tuple(row["shape"]), "BF16") for row in found["tensors"]]


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
    tensors = table_of(lane, inventory)
    honest = derive_blueprint(with_tensors(inventory, tensors), None, observations)
    assert honest.value("bias.qkv") is False and honest.gaps == ()
    biased = [*tensors, *(TensorInfo(f"model.layers.{i}.self_attn.q_proj.bias", (8,), "BF16") for i in range(6))]
    blueprint = derive_blueprint(with_tensors(inventory, biased), None, observations)
    fact = blueprint.fact("bias.qkv")
    assert fact is not None and fact.value is True and fact.certainty == "constrained"
    assert any("tensors win: bias.qkv" in note for note in blueprint.notes)


def test_a_checkpoint_without_a_head_is_tied_whatever_the_config_says(lane: LaneSession) -> None:
    inventory, observations = probed(lane, "llama")
    tensors = [info for info in table_of(lane, inventory) if info.name != "lm_head.weight"]
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


SIZES = {
    "intermediate_size": ("mlp.up_proj.weight", "mlp.gate_proj.weight", "mlp.down_proj.weight", "ffn_hidden_size"),
    "num_key_value_heads": ("self_attn.k_proj.weight", "self_attn.v_proj.weight", "num_query_groups"),
    "vocab_size": ("embed_tokens.weight", "lm_head.weight", "vocab_size"),
}


@pytest.mark.parametrize("key", SIZES)
def test_a_size_that_the_tensors_contradict_is_theirs_and_a_gap_says_what_to_correct(
    lane: LaneSession, key: str
) -> None:
    inventory, observations = probed(lane, "llama")
    *names, fact = SIZES[key]
    tensors = table_of(lane, inventory)
    honest = derive_blueprint(with_tensors(inventory, tensors), None, observations)
    assert honest.gaps == () and not any("win" in note for note in honest.notes)
    real = honest.value(fact)
    twice = [
        replace(info, shape=tuple(size * 2 if size % real == 0 and size != 8192 else size for size in info.shape))
        if info.name.endswith(tuple(names))
        else info
        for info in tensors
    ]
    blueprint = derive_blueprint(with_tensors(inventory, twice), None, observations)
    assert any(gap.subject == fact and key in gap.reason for gap in blueprint.gaps), blueprint.gaps
    assert any(note.startswith("tensors win") for note in blueprint.notes)


def test_numbers_that_the_code_does_not_follow_are_noted(lane: LaneSession) -> None:
    inventory, observations = probed(lane, "llama")
    facts = derive_blueprint(inventory, None, observations).facts
    config = {**inventory.config, "n_inner": 17, "rotary_emb_base": 3.0}
    assert declared_lies(inventory.config, facts) == []
    assert [note.split(" ")[2] for note in declared_lies(config, facts)] == ["n_inner", "rotary_emb_base"]


def test_a_count_of_rotated_dimensions_that_the_class_does_not_read_is_told() -> None:
    """transformers' class of a published model reads a share alone, and its config.json has a count."""
    facts = [Fact("rope.dim", 128, "measured", ())]
    (note,) = declared_lies({"rotary_dim": 64}, facts)
    assert note == "config lies: rotary_dim is 64, the code rotates 128 dimensions of a head"
    assert declared_lies({"rotary_dim": 128}, facts) == []
    followed = [Fact("rope.dim", 100, "measured", (), Product((Term("rotary_dim"),)))]
    assert declared_lies({"rotary_dim": 64}, followed) == []
