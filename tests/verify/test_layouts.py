"""Which splits a model can take, and which of them are tried."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from ranks.layouts import CHOICES, LAYERS_MULTIPLE, RULES, Layout, Numbers, chosen, fitted, hindrance
from ranks.processes import refuses
from toys.layers import chosen_layers
from toys.toy import shrink_config

DENSE = Numbers(heads=16, groups=8, experts=0, layers=28)
EXPERTS = Numbers(heads=16, groups=8, experts=64, layers=28)


@pytest.mark.parametrize(
    ("layout", "processes"),
    [
        (Layout(), 1),
        (Layout(tp=2), 2),
        (Layout(pp=2, vpp=2), 2),
        (Layout(ep=2), 2),
        (Layout(tp=2, ep=2, sp=True), 2),
        (Layout(tp=2, ep=4, sp=True), 4),
        (Layout(tp=2, pp=2, ep=2, cp=2, sp=True), 8),
    ],
)
def test_expert_ranks_are_taken_from_the_others(layout: Layout, processes: int) -> None:
    assert layout.processes == processes


@pytest.mark.parametrize(
    ("layout", "numbers", "said"),
    [
        (Layout(tp=3), DENSE, "16 heads over 3 tensor ranks"),
        (
            Layout(tp=2),
            Numbers(heads=16, groups=8, experts=0, layers=28, state_groups=1),
            "1 groups of a state space over 2 tensor ranks",
        ),
        (Layout(tp=4), Numbers(heads=12, groups=3, experts=0, layers=28), "3 key-value heads over 4 tensor ranks"),
        (Layout(ep=2), DENSE, "no experts"),
        (Layout(tp=2), EXPERTS, "not sequence parallel"),
        (Layout(ep=3), EXPERTS, "64 experts over 3 expert ranks"),
        (Layout(pp=8, vpp=4), DENSE, "28 layers for 8 stages of 4 chunks"),
    ],
)
def test_what_cannot_be_split_is_said_with_its_number(layout: Layout, numbers: Numbers, said: str) -> None:
    assert said in hindrance(layout, numbers)
    assert hindrance(Layout(), numbers) == ""


def test_every_rule_hinders_something() -> None:
    states = Numbers(heads=16, groups=8, experts=0, layers=28, state_groups=1)
    cases = ((Layout(tp=3, ep=3, pp=30), DENSE), (Layout(tp=2, ep=3), EXPERTS), (Layout(tp=2), states))
    assert all(any(rule.hinders(*case) for case in cases) for rule in RULES)


def test_a_key_value_head_may_be_on_several_ranks() -> None:
    assert hindrance(Layout(tp=8), Numbers(heads=8, groups=1, experts=0, layers=4)) == ""


def test_experts_with_biases_stay_whole() -> None:
    biased = Numbers(heads=16, groups=8, experts=64, layers=28, expert_biases=True)
    assert fitted(Layout(tp=2, sp=True), biased).tp_of_experts == 1
    assert fitted(Layout(tp=2, sp=True), EXPERTS).tp_of_experts == 2
    assert fitted(Layout(tp=2, ep=2, sp=True), EXPERTS).tp_of_experts == 1
    assert fitted(Layout(tp=2, sp=True), biased).name == "tp2 sp"


def test_the_few_are_layouts_that_the_model_can_take() -> None:
    assert [one.name for one in chosen(DENSE, few=True)] == ["tp2 sp", "pp2 vpp2"]
    assert [one.name for one in chosen(EXPERTS, few=True)] == ["tp2 sp", "pp2 vpp2", "ep2"]
    assert chosen(Numbers(heads=5, groups=5, experts=0, layers=1), few=True) == []


def test_all_of_them_are_the_rows_that_the_model_can_take() -> None:
    assert [one.name for one in chosen(EXPERTS, few=False)] == [
        row.layout.name for row in CHOICES if row.layout != Layout(tp=2)
    ]


def test_a_toy_has_as_many_layers_as_two_stages_of_two_chunks_take() -> None:
    config = {"num_hidden_layers": 61, "first_k_dense_replace": 3}
    assert len(chosen_layers(config, "a", LAYERS_MULTIPLE)) % LAYERS_MULTIPLE == 0
    assert chosen_layers(config, "a", 1) == chosen_layers(config, "a")
    assert chosen_layers({"num_hidden_layers": 3}, "a", LAYERS_MULTIPLE) == [0, 1, 2], "it has no more"


def test_a_long_pattern_gets_layers_that_were_left_out() -> None:
    kinds = [f"kind{index % 7}" if index % 5 else "other" for index in range(40)]
    layers = chosen_layers({"num_hidden_layers": 40, "layer_types": kinds}, "a", LAYERS_MULTIPLE)
    assert len(layers) % LAYERS_MULTIPLE == 0
    assert layers == sorted(set(layers))


@pytest.mark.parametrize(
    ("error", "stage", "refused"),
    [
        (NotImplementedError("whole sequences"), "sharded.logits", True),
        (AssertionError("Virtual pipeline is temporarily unsupported in hybrid models"), "sharded.build", True),
        (ValueError("attention does not support context parallelism."), "sharded.build", True),
        (ValueError("attention does not support context parallelism."), "sharded.logits", False),
        (ValueError("Cannot evenly split gate dimension 0"), "sharded.build", False),
        (RuntimeError("not supported"), "sharded.build", False),
    ],
)
def test_a_refusal_is_told_from_a_mistake(error: Exception, stage: str, refused: bool) -> None:
    assert refuses(error, stage) == refused


def test_the_usual_toy_is_what_it_was() -> None:
    config = {"model_type": "llama", "num_hidden_layers": 30, "num_attention_heads": 32, "hidden_size": 4096}
    assert shrink_config(config, "a")["num_hidden_layers"] == 3


@dataclass
class _Provider:
    num_attention_heads: int = 8
    num_query_groups: int = 4
    num_layers: int = 4
    mamba_num_groups: int = 8
    add_bias_linear: bool = False


def test_groups_of_a_state_space_count_only_where_a_model_says_how_many() -> None:
    assert Numbers.of(_Provider()).state_groups == 0
    assert Numbers.of(_Provider(mamba_num_groups=1)).state_groups == 1
    assert hindrance(Layout(tp=2), Numbers.of(_Provider())) == ""
    assert "state space" in hindrance(Layout(tp=2), Numbers.of(_Provider(mamba_num_groups=1)))
