"""The sizes of examples follow from counted parameters, heads, layers and experts, by one rule."""

from __future__ import annotations

import dataclasses

import pytest

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.targets.roll.documents_sizes import GPU_BYTES, HELD, SPREAD, Parameters, choose_sizes, count
from targets.blueprints import qwen3, role, with_fact


def scaled(width: int) -> Blueprint:
    """Qwen3 8B with the hidden size multiplied: all of its matrices grow with it."""
    blueprint = qwen3()
    rows = tuple(dataclasses.replace(row, shape=(row.shape[0] * width, *row.shape[1:])) for row in blueprint.roles)
    return dataclasses.replace(blueprint, roles=rows)


def experts(number: int, top_k: int, shape: tuple[int, ...], *, stacked: bool = False) -> Blueprint:
    pattern = "model.layers.*.mlp.experts.down_proj" if stacked else "model.layers.*.mlp.experts.*.down_proj.weight"
    shape = (number, *shape) if stacked else shape
    blueprint = qwen3()
    blueprint = dataclasses.replace(blueprint, roles=(*blueprint.roles, role("moe.expert.down", pattern, shape)))
    blueprint = with_fact(blueprint, "moe.num_experts", number)
    return with_fact(blueprint, "moe.top_k", top_k)


def test_a_dense_model_is_counted_from_its_tensors():
    parameters = count(qwen3())
    assert parameters.total == 8_190_735_360  # what Qwen/Qwen3-8B has
    assert (parameters.expert, parameters.active) == (0, parameters.total)
    assert parameters.label == "8B"


@pytest.mark.parametrize("stacked", [False, True], ids=["one tensor an expert", "all in one"])
def test_experts_are_counted_alike_however_they_are_stored(stacked):
    parameters = count(experts(64, 8, (100, 200), stacked=stacked))
    assert parameters.expert == 64 * 100 * 200 * 36
    assert parameters.active == parameters.dense + 8 * 100 * 200 * 36


@pytest.mark.parametrize(
    ("parameters", "label"),
    [
        (Parameters(8_190_735_360, 0, 8_190_735_360), "8B"),
        (Parameters(596_049_920, 0, 596_049_920), "0.6B"),
        (Parameters(1_540_000_000, 0, 1_540_000_000), "1.5B"),
        (Parameters(1_530_000_000, 29_000_000_000, 3_340_000_000), "31BA3B"),
        (Parameters(14_000_000, 0, 14_000_000), "14M"),
    ],
)
def test_labels_read_as_in_the_names_of_examples(parameters, label):
    assert parameters.label == label


@pytest.mark.parametrize("width", [1, 2, 4, 8, 16])
def test_what_is_chosen_fits_and_divides(width):
    blueprint = scaled(width)
    sizes = choose_sizes(blueprint)
    held = HELD * sizes.parameters.total / (sizes.tensor * sizes.pipeline)
    assert held + SPREAD * sizes.parameters.total / sizes.gpus <= 0.6 * GPU_BYTES
    assert sizes.gpus % (sizes.tensor * sizes.pipeline) == 0
    assert blueprint.value("num_query_groups") % sizes.tensor == 0
    assert blueprint.value("num_layers") % sizes.pipeline == 0
    assert 2 * sizes.parameters.total / sizes.engine_tensor <= 0.5 * GPU_BYTES or sizes.engine_tensor == 8


def test_a_larger_model_takes_more():
    small, large = choose_sizes(qwen3()), choose_sizes(scaled(8))
    assert (small.tensor, small.pipeline, small.gpus, small.engine_tensor) == (2, 1, 8, 1)
    assert large.gpus > small.gpus
    assert large.tensor * large.pipeline > small.tensor * small.pipeline
    assert large.engine_tensor > 1


def test_the_tensor_split_stops_at_the_groups_of_keys():
    blueprint = with_fact(scaled(4), "num_query_groups", 2)
    assert choose_sizes(blueprint).tensor <= 2
    assert choose_sizes(scaled(4)).tensor > 2


def test_experts_are_spread_over_a_node_and_count_for_the_split():
    sizes = choose_sizes(experts(128, 8, (2048, 768)))
    assert sizes.expert == 8
    assert sizes.gpus % (sizes.tensor * sizes.pipeline * sizes.expert) == 0
    assert choose_sizes(experts(6, 2, (2048, 768))).expert == 2


def test_an_engine_that_cannot_split_gets_one_gpu():
    assert choose_sizes(scaled(8)).engine_tensor > 1
    assert choose_sizes(scaled(8), engine_splits=False).engine_tensor == 1


def test_a_model_that_is_too_large_for_all_gets_the_largest_there_is():
    sizes = choose_sizes(scaled(2000))
    assert (sizes.tensor, sizes.gpus, sizes.sharded_gpus) == (8, 1024, 1024)
