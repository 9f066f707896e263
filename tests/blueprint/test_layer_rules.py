"""Which layers have experts, where config keys say it by counting."""

from __future__ import annotations

from typing import Any

import pytest

from scaffold_tools.blueprint.facts import LayerRule
from scaffold_tools.blueprint.layer_rules import RULES, fit, flags

CASES: dict[str, tuple[dict[str, Any], list[bool]]] = {
    "listed": ({"moe_layers": [1, 3]}, [False, True, False, True]),
    "from": ({"first_k_dense_replace": 2}, [False, False, True, True]),
    "unlisted_every": ({"mlp_only_layers": [3], "decoder_sparse_step": 2}, [False, True, False, False]),
    "from_every": ({"first_k_dense_replace": 1, "moe_layer_freq": 2}, [False, False, True, False]),
    "every_between": (
        {"moe_layer_interval": 1, "moe_layer_start_index": 1, "moe_layer_end_index": 2},
        [False, True, True, False],
    ),
    "every_at": ({"expert_layer_period": 3, "expert_layer_offset": 2}, [False, False, True, False]),
    "every_last": ({"moe_layer_interval": 2}, [False, True, False, True]),
    "every_first": ({"moe_layer_freq": 2}, [True, False, True, False]),
}


def test_every_rule_has_a_case() -> None:
    assert set(CASES) == {row.name for row in RULES}


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_rule_is_found_from_the_layers_that_have_experts(name: str) -> None:
    attributes, expected = CASES[name]
    found = fit(expected, expected, (attributes, attributes), "num_hidden_layers")
    assert found is not None and found.rule == name
    assert flags(found, attributes, len(expected)) == expected


def test_a_rule_must_hold_in_both_toys() -> None:
    toys = ({"first_k_dense_replace": 1}, {"first_k_dense_replace": 2})
    assert fit([False, True, True], [False, True, True], toys, "num_hidden_layers") is None
    assert fit([False, True, True], [False, False, True], toys, "num_hidden_layers") is not None


def test_a_rule_holds_for_other_sizes_of_the_family() -> None:
    rule = LayerRule("from", ("first_k_dense_replace",), "num_hidden_layers")
    assert flags(rule, {"first_k_dense_replace": 3}, 5) == [False, False, False, True, True]


def test_a_key_without_a_value_is_an_error() -> None:
    with pytest.raises(KeyError):
        flags(LayerRule("from", ("first_k_dense_replace",), "num_hidden_layers"), {"first_k_dense_replace": None}, 4)
