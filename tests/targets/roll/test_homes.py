"""Norms with several homes: one operation for each tensor, and a table of where its parameter is in which layers."""

from __future__ import annotations

from scaffold_tools.targets.roll.homes import (
    MLP_NORM,
    USUAL_NORM,
    Home,
    beside_attention,
    beside_experts,
    several_homes,
)
from scaffold_tools.targets.roll.operations import Operation
from targets.blueprints import fact
from tests.targets.roll.models import changed, dense, mixture

_MIXED = [True, False] * 18


def rename(hf: str, mca: str) -> Operation:
    return Operation("RenameConverOp", (hf,), (mca,))


QKV = rename(".norm.weight", f"{USUAL_NORM}weight")
MIXER = rename(".norm.weight", ".self_attention.in_proj.layer_norm_weight")
MLP = rename(".norm.weight", f"{MLP_NORM}weight")
EXPERTS = rename(".norm.weight", ".pre_mlp_layernorm.weight")


def hybrid(*more):
    return changed(dense(), (fact("mamba.layers", _MIXED), *more), ())


def test_the_norm_before_a_mixer_is_where_the_mixer_is():
    kept, homes = beside_attention([QKV, MIXER], hybrid(), frozenset({"mamba_layers"}))
    assert kept == [QKV]
    assert homes == (Home(USUAL_NORM, ".self_attention.in_proj.layer_norm_", "mamba_layers", True),)
    assert several_homes(kept) == []


def test_stock_delta_nets_are_told_by_megatron_cores_own_field():
    blueprint = changed(dense(), (fact("delta.layers", _MIXED),), ())
    assert beside_attention([QKV, MIXER], blueprint, frozenset())[1][0].flags == "linear_attention_freq"
    assert beside_attention([QKV, MIXER], blueprint, frozenset({"delta_layers"}))[1][0].flags == "delta_layers"


def test_layers_of_one_sublayer_have_their_norm_in_front_of_it():
    lone = hybrid(fact("mixer.layers", _MIXED))
    kept, homes = beside_attention([QKV, MIXER, MLP, EXPERTS], lone, frozenset({"mamba_layers"}))
    assert kept == [QKV]
    assert [home.flags for home in homes] == ["mamba_layers", "mixer_layers", "moe_layer_freq"]


def test_a_name_there_and_back_is_the_same():
    """The template renames by the table in its order, and back in the other."""
    _, homes = beside_attention([QKV, MIXER, MLP, EXPERTS], hybrid(fact("mixer.layers", _MIXED)), frozenset())
    there = QKV.mca[0]
    for home in homes[1:]:  # a lone mixture of experts
        there = there.replace(home.usual, home.other)
    assert there == ".pre_mlp_layernorm.weight"
    for home in reversed(homes):
        there = there.replace(home.other, home.usual)
    assert there == QKV.mca[0]


def test_different_tensors_are_left_apart():
    other = rename(".other_norm.weight", MIXER.mca[0])
    kept, homes = beside_attention([QKV, other], hybrid(), frozenset({"mamba_layers"}))
    assert (kept, homes) == ([QKV, other], ())


def test_experts_in_every_layer_need_no_table():
    every = changed(mixture(), (fact("moe.layers", [True] * 36),), ())
    kept, homes = beside_experts([MLP], every)
    assert (kept[0].mca, homes) == (EXPERTS.mca, ())
    assert beside_experts([MLP], mixture())[1] != ()
    assert beside_experts([MLP], dense()) == ([MLP], ())


def test_a_tensor_with_two_homes_that_no_table_tells_apart_is_a_gap():
    rival = rename(".norm.weight", "decoder.final_layernorm.weight")
    (gap,) = several_homes([QKV, rival])
    assert gap.subject == ".norm.weight"
    assert several_homes([QKV]) == []
