"""The other value of a flag is known when all that changes was understood."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from scaffold_tools.blueprint.facts import Const, Fact, Product, TensorRole, Term
from scaffold_tools.blueprint.switches import derive_switches

LAYERS = 3
FACTS = (
    Fact("num_layers", LAYERS, "measured", (), Product((Term("num_hidden_layers"),))),
    Fact("norm.eps", 1e-6, "measured", (), Product((Term("rms_norm_eps"),))),
    Fact("bias.qkv", False, "measured", (), Product((Term("attention_bias"),))),
    Fact("qk_norm.kind", "none", "measured", (), Const("none")),
)
ROLES = (TensorRole("attn.q", "model.layers.*.self_attn.q_proj.weight", "weight", (8, 8), (0, 1, 2)),)
BASE = {"norm.eps": 0.0113, "bias.qkv": False, "qk_norm.kind": "none"}


def row(role: str, tensor: str, param: str = "weight") -> dict[str, Any]:
    return {"role": role, "tensor": tensor, "param": param, "packing": None}


def flip(value: bool, facts: dict[str, Any], *rows: dict[str, Any], **tensors: Any) -> dict[str, Any]:
    table = {"change": "more", "roles": list(rows), "names": {one["tensor"]: one["tensor"] for one in rows}}
    return {"value": value, "facts": {**BASE, **facts}, "failures": [], "tensors": {**table, "unknown": [], **tensors}}


BIASES = flip(True, {"bias.qkv": True}, row("attn.q", "model.layers.0.self_attn.q_proj.bias", "bias"))
NORMS = flip(
    True, {"qk_norm.kind": "per_head", "qk_norm.eps": 0.0113}, row("norm.q", "model.layers.0.self_attn.q_norm.weight")
)


def answer(**flips: dict[str, Any]) -> dict[str, Any]:
    roles = [row("attn.q", "model.layers.0.self_attn.q_proj.weight")]
    return {"variants": {"a": {"facts": BASE, "failures": [], "roles": roles, "names": {}, "flips": flips}}}


def test_tensors_that_a_flag_brings_have_their_names() -> None:
    (switch,) = derive_switches(answer(attention_bias=BIASES), FACTS, ROLES)
    assert (switch.key, switch.value) == ("attention_bias", True)
    assert [(one.role, one.pattern, one.param) for one in switch.roles] == [
        ("attn.q", "model.layers.*.self_attn.q_proj.bias", "bias")
    ]
    (changed,) = switch.facts
    assert (changed.name, changed.value, changed.expression) == ("bias.qkv", True, Product((Term("attention_bias"),)))


def test_a_number_of_the_other_way_follows_the_key_that_has_it_in_the_toy() -> None:
    (switch,) = derive_switches(answer(use_qk_norm=NORMS), FACTS, ROLES)
    eps = next(one for one in switch.facts if one.name == "qk_norm.eps")
    assert (eps.value, eps.expression) == (1e-6, Product((Term("rms_norm_eps"),)))
    lost = copy.deepcopy(NORMS)
    lost["facts"]["qk_norm.eps"] = 0.5
    assert not derive_switches(answer(use_qk_norm=lost), FACTS, ROLES), "nothing says what 0.5 follows"


def test_facts_that_go_are_told() -> None:
    off = flip(False, {}, change="fewer")
    del off["facts"]["qk_norm.kind"]
    (switch,) = derive_switches(answer(use_qk_norm=off), FACTS, ROLES)
    assert switch.absent == ("qk_norm.kind",) and switch.roles == ()


@pytest.mark.parametrize(
    "broken",
    [
        {"tensors": {"change": "other"}},
        {"tensors": {"change": "none"}},
        {"tensors": {**BIASES["tensors"], "unknown": ["model.layers.0.self_attn.sinks"]}},
        {"failures": [{"subject": "structure", "reason": "two heads"}]},
        {"facts": {**BASE, "a word that no rule knows": 3}},
    ],
)
def test_what_was_not_understood_whole_is_no_switch(broken: dict[str, Any]) -> None:
    assert not derive_switches(answer(attention_bias={**BIASES, **broken}), FACTS, ROLES)


def test_names_of_a_checkpoint_that_has_its_own_are_not_guessed() -> None:
    renamed = (TensorRole("attn.q", "layers.*.self_attn.q_proj.weight", "weight", (8, 8), (0, 1, 2)),)
    assert not derive_switches(answer(attention_bias=BIASES), FACTS, renamed)
