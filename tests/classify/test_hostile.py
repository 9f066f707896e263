"""Any JSON object is classified without an exception, and what is told of it is printable."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classify.inventories import inventory
from scaffold_tools.classify.keys import KEYS
from scaffold_tools.classify.model import classify
from scaffold_tools.jsonio import dumps
from scaffold_tools.source.inventory import Inventory, Source, TensorInfo, TensorTable

SPELLINGS = sorted({name for row in KEYS for name in (row.name, *row.aliases)})
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
strings = st.sampled_from(SPELLINGS) | st.text(max_size=12)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(strings, inner, max_size=6), max_leaves=20
)
configs = st.dictionaries(strings, values, max_size=15)
parts = st.sampled_from(
    ["weight", "weight_scale_inv", "weight_scale", "qweight", "qzeros", "scales", "blocks", "weight_packed", "A_log"]
)
tensors = st.builds(
    TensorInfo,
    st.builds(
        lambda layer, part, text: f"model.layers.{layer}.x{text}.{part}", st.integers(0, 5), parts, st.text(max_size=3)
    ),
    st.lists(st.integers(0, 300), max_size=4).map(tuple),
    st.sampled_from(["F32", "BF16", "U8", "I8", "I32", "F8_E4M3", "F8_E8M0"]),
)
relaxed = settings(max_examples=300)


@relaxed
@given(configs)
def test_any_config_is_classified(config: dict[str, Any]) -> None:
    assert_told(inventory(config))


@relaxed
@given(configs, st.lists(tensors, max_size=12, unique_by=lambda tensor: tensor.name))
def test_any_config_with_any_tensors_is_classified(config: dict[str, Any], found: list[TensorInfo]) -> None:
    assert_told(Inventory(Source("x", "config", "x"), config, TensorTable(tuple(found), "headers")))


def assert_told(given_inventory: Inventory) -> None:
    found = classify(given_inventory)
    text = dumps(found)
    json.loads(text)
    text.encode("utf-8")
    for line in (str(found), *(f"{key.path} {key.value}" for key in (*found.keys, *found.unrecognised))):
        assert line.isprintable()


@pytest.mark.parametrize(
    "part", ["model.decoder.", "model.layers.0.", "layers.*.", "weight.", "0.", "x.experts", ".A_log"]
)
def test_a_tensor_name_of_a_quarter_megabyte_takes_no_time(part: str) -> None:
    """Without the cut of long names the first three of these take more than twenty seconds each."""
    name = part * (250_000 // len(part))
    start = time.process_time()
    found = classify(inventory({"vocab_size": 5, "num_hidden_layers": 3}, [(name, "U8", (8, 8)), ("a", "U8", (2,))]))
    assert time.process_time() - start < 2
    assert found.parameters == 66


def test_a_value_of_a_megabyte_stays_on_one_line() -> None:
    found = classify(inventory({"mystery": "A\n" * 500_000, "x" * 500_000: 1, "deep": [[[[1] * 1000] * 10] * 10]}))
    assert all(len(f"{key.path}{key.value}") < 400 for key in found.unrecognised)
