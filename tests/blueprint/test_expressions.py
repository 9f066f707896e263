"""Numbers to expressions: simplest formula that holds for both toys, and none where there is none."""

from __future__ import annotations

import pytest

from scaffold_tools.blueprint.expressions import Toys, evaluate, fit_layers, fit_number, fit_rounded, keys_of, shown
from scaffold_tools.blueprint.facts import Const, Fact, Product, Rounded, Term
from scaffold_tools.blueprint.keys import account

A = {"hidden_size": 64, "heads": 4, "scalar": 37, "eps": 0.0113, "same": 7.0, "layer_types": ["s", "f", "s"], "w": 5}
B = {
    "hidden_size": 96,
    "heads": 6,
    "scalar": 53,
    "eps": 0.0237,
    "same": 7.0,
    "layer_types": ["s", "f", "s", "f"],
    "w": 7,
}
TOYS = Toys(A, B, tuple(A))


@pytest.mark.parametrize(
    ("a", "b", "text"),
    [
        (0.0113, 0.0237, "eps"),
        (37**-0.5, 53**-0.5, "scalar**-0.5"),
        (8.0, 96**0.5, "hidden_size**0.5"),
        (1 / 37, 1 / 53, "scalar**-1"),
        (256, 384, "4 * hidden_size"),
        (64 / 37**0.5, 96 / 53**0.5, "hidden_size * scalar**-0.5"),
        (1.0, 1.0, "1.0"),
    ],
)
def test_simplest_formula_that_holds_in_both_toys(a: float, b: float, text: str) -> None:
    assert shown(fit_number(a, b, TOYS)) == text


def test_a_formula_that_holds_in_one_toy_alone_is_no_formula() -> None:
    assert fit_number(37**-0.5, 0.2, TOYS) is None


def test_a_value_equal_in_both_toys_is_a_constant_unless_its_usual_key_says_so() -> None:
    assert fit_number(7.0, 7.0, TOYS) == Const(7.0)
    assert fit_number(7.0, 7.0, TOYS, hints=("same",)) == Product((Term("same"),))


def test_a_quotient_that_is_equal_in_both_toys_is_still_found() -> None:
    assert shown(fit_number(16, 16, TOYS, ratio=("hidden_size", "heads"))) == "hidden_size * heads**-1"


def test_values_by_layer_follow_the_list_that_tells_them_apart() -> None:
    found = fit_layers([5, None, 5], [7, None, 7, None], TOYS)
    assert shown(found) == "by layer_types: s w, f None"
    assert found is not None
    assert evaluate(found, {"layer_types": ["f", "s"], "w": 4096}) == [None, 4096]
    assert keys_of(found) == ("layer_types", "w")


def test_a_number_of_a_list_explains_one_value_but_not_one_a_layer() -> None:
    a = {"hidden_size": 64, "factors": [1.1, 0.9], "factors.0": 1.1, "factors.1": 0.9}
    b = {"hidden_size": 96, "factors": [0.8, 1.3], "factors.0": 0.8, "factors.1": 1.3}
    toys = Toys(a, b, tuple(a))
    found = fit_number(0.9, 1.3, toys)
    assert found == Product((Term("factors.1"),))
    assert evaluate(found, {"factors.1": 0.25}) == 0.25
    assert fit_layers([1.1, 0.9], [0.8, 1.3, 0.8], toys) is None
    by_label = Toys({**a, "layer_types": ["s", "f"]}, {**b, "layer_types": ["s", "f"]}, ("layer_types", *toys.keys))
    assert fit_layers([1.1, 0.9], [0.8, 1.3], by_label) is None


def test_a_list_of_which_one_number_is_explained_is_not_accounted_for() -> None:
    variant = {
        **{"reads": {"factors": "modeling_x.py:7"}, "attributes": {"factors": [1.1, 0.9]}, "failures": []},
        **{"effects": {}, "facts": {}, "roles": []},
    }
    facts = tuple(
        Fact(f"mlp.{name}_multiplier", 1.0, "measured", (), Product((Term(f"factors.{place}"),)))
        for place, name in enumerate(("gate", "output"))
    )
    assert account({"factors": [1.1, 0.9]}, variant, facts, {})[1] == ()
    assert [gap.subject for gap in account({"factors": [1.1, 0.9]}, variant, facts[:1], {})[1]] == ["factors"]


def test_values_by_layer_that_no_list_explains_are_not_explained() -> None:
    assert fit_layers([5, 5, None], [7, None, 7, None], TOYS) is None


def test_an_expression_over_a_key_that_is_not_set_cannot_be_evaluated() -> None:
    with pytest.raises(KeyError):
        evaluate(Product((Term("scalar", -0.5),)), {"scalar": None})


def test_a_width_that_is_rounded_up_is_told_from_a_constant() -> None:
    a = {"intermediate_size": 112, "ffn_multiplier": 1.37, "multiple_of": 24}
    b = {"intermediate_size": 144, "ffn_multiplier": 0.71, "multiple_of": 20}
    found = fit_rounded(120, 80, Toys(a, b, tuple(a)), ("intermediate_size",))
    assert found == Rounded("intermediate_size", "ffn_multiplier", "multiple_of", 2 / 3)
    assert evaluate(found, {"intermediate_size": 12288, "ffn_multiplier": 1.0, "multiple_of": 256}) == 8192
    assert fit_rounded(120, 84, Toys(a, b, tuple(a)), ("intermediate_size",)) is None


def test_a_large_multiple_explains_nothing() -> None:
    a = {"vocab_size": 136, "hidden_size": 64, "expand": 2}
    b = {"vocab_size": 152, "hidden_size": 96, "expand": 2}
    found = fit_number(128, 192, Toys(a, b, tuple(a), frozenset(a)))
    assert found == Product((Term("hidden_size"),), 2)


def layered(a: list[object], b: list[object], toys: Toys) -> str:
    return shown(fit_layers(a, b, toys))


COUNTED = Toys(
    {"deep": 7, "first": 1, "step": 3, "near": 5},
    {"deep": 8, "first": 2, "step": 2, "near": 7},
    ("deep", "first", "step", "near"),
    frozenset({"deep", "first", "step", "near"}),
)


def test_layers_that_a_key_of_any_name_counts() -> None:
    a, b = [False] + [True] * 6, [False] * 2 + [True] * 6
    assert layered(a, b, COUNTED) == "True in from first, else False"
    found = fit_layers(a, b, COUNTED)
    assert found is not None
    assert evaluate(found, {"deep": 10, "first": 4}) == [False] * 4 + [True] * 6


def test_layers_that_the_code_counts_need_two_periods() -> None:
    a, b = [5, 5, None] * 2 + [5], [7, 7, None] * 2 + [7, 7]
    found = fit_layers(a, b, COUNTED)
    assert found is not None
    assert evaluate(found, {"deep": 9, "near": 64}) == [64, 64, None] * 3
    short = Toys({"deep": 3, "near": 5}, {"deep": 4, "near": 7}, ("deep", "near"))
    assert fit_layers([5, 5, None], [7, 7, None, 7], short) is None


def test_three_values_are_no_choice_of_two() -> None:
    assert fit_layers([1, 2, 3] * 2 + [1], [1, 2, 3] * 2 + [1, 2], COUNTED) is None
