"""Layers wired unlike Llama's, and ends of the stack that are not norm and head: derived, rendered, proven."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scaffold_tools.blueprint.facts import Const
from scaffold_tools.render.style import lint_many
from scaffold_tools.targets.megatron_bridge.blocks import choose_blocks
from scaffold_tools.targets.megatron_bridge.rules import settle
from scaffold_tools.verify.lane import LaneSession
from targets.blocks.models import Model
from targets.blocks.packages import lane_profile
from targets.blocks.pipeline import blueprint_of, verify
from targets.blocks.test_render import _STRICT
from targets.blocks.wiring_configs import WIRINGS

pytestmark = pytest.mark.lane


@pytest.fixture(scope="module")
def models(lane: LaneSession) -> dict[str, Model]:
    return {name: Model(config, blueprint_of(lane, config)) for name, config in WIRINGS.items()}


@pytest.mark.parametrize("name", sorted(WIRINGS))
def test_what_was_derived_is_proven(lane: LaneSession, models: dict[str, Model], tmp_path: Path, name: str) -> None:
    assert models[name].blueprint.gaps == ()
    found = verify(lane, models[name], tmp_path)
    assert set(found) == {"passed"}, {status: rows for status, rows in found.items() if status != "passed"}
    code = {path.name: path.read_text() for path in tmp_path.glob("scaffold_*/*.py")}
    assert [row for row in lint_many(code, _STRICT) if row.code.startswith("F")] == []


def _with_roles(swapped: dict[str, str]) -> Callable[[Model], Model]:
    def believe(model: Model) -> Model:
        rows = tuple(dataclasses.replace(row, role=swapped.get(row.role, row.role)) for row in model.blueprint.roles)
        return dataclasses.replace(model, blueprint=dataclasses.replace(model.blueprint, roles=rows))

    return believe


def _with_fact(name: str, value: Any) -> Callable[[Model], Model]:
    return lambda model: model.with_fact(name, value, Const(value))


WRONG: tuple[tuple[str, str, Callable[[Model], Model]], ...] = (
    ("norms_inside", "attention_norm_behind", _with_roles({"norm.pre_o": "norm.post_attn"})),
    ("last_bias", "bias_in_the_first_layer", _with_fact("bias.o.layers", "first")),
    ("own_final_norm", "epsilon_of_the_layers", _with_fact("norm.final.eps", 1e-6)),
    (
        "post_norm",
        "norms_swapped",
        _with_roles({"norm.after_attn": "norm.after_mlp", "norm.after_mlp": "norm.after_attn"}),
    ),
    (
        "post_norm",
        "norms_inside_the_residual",
        _with_roles({"norm.after_attn": "norm.post_attn", "norm.after_mlp": "norm.post_mlp"}),
    ),
    ("norms_by_head", "of_another_kind", _with_fact("qk_norm.norm", "rmsnorm")),
    ("averaged_experts", "added", _with_fact("moe.output_factor", 1.0)),
    ("key_bias", "one_key_more", _with_fact("attention.keep", 24)),
    (
        "key_bias",
        "factors_swapped",
        _with_roles({"residual.attn": "residual.mlp", "residual.mlp": "residual.attn"}),
    ),
    ("head_transform", "another_curve", _with_fact("head.activation", "gelu_tanh")),
    ("head_transform", "no_norm_in_the_last_layer", _with_fact("norm.pre_attn.layers", "but_last")),
    ("head_transform", "norms_swapped", _with_roles({"head.norm": "norm.final", "norm.final": "head.norm"})),
)


@pytest.mark.parametrize(
    ("name", "believe"),
    [(name, believe) for name, _, believe in WRONG],
    ids=[f"{name}-{what}" for name, what, _ in WRONG],
)
def test_a_wrong_belief_is_not_proven(
    lane: LaneSession, models: dict[str, Model], tmp_path: Path, name: str, believe: Callable[[Model], Model]
) -> None:
    found = verify(lane, believe(models[name]), tmp_path)
    assert set(found) - {"passed"}


def test_facts_of_the_ends_are_words_right_for_every_number_of_layers(models: dict[str, Model]) -> None:
    assert models["last_bias"].blueprint.value("bias.o.layers") == "last"
    assert models["head_transform"].blueprint.value("norm.pre_attn.layers") == "but_first"
    assert models["post_norm"].blueprint.value("norm.before_head") is False


@pytest.mark.parametrize("name", ["last_bias", "head_transform"])
def test_checkpoints_keep_layers_apart_that_have_different_parameters(models: dict[str, Model], name: str) -> None:
    found = {row.name: row.value for row in choose_blocks(models[name].blueprint).provider_settings}
    assert found.get("hetereogenous_dist_checkpoint") is True
    other = {row.name for row in choose_blocks(models["post_norm"].blueprint).provider_settings}
    assert "hetereogenous_dist_checkpoint" not in other


def test_experts_that_a_config_counts_and_no_layer_has_are_not_built(models: dict[str, Model]) -> None:
    settings = settle(models["key_bias"].blueprint, lane_profile()).settings
    assert [row.code for row in settings if row.attribute == "num_moe_experts"] == ["None"]
    settings = settle(models["post_norm"].blueprint, lane_profile()).settings
    assert not [row for row in settings if row.attribute == "num_moe_experts"]


def test_norms_on_both_sides_of_one_projection_are_a_gap(models: dict[str, Model]) -> None:
    model = models["norms_inside"]
    row = next(row for row in model.blueprint.roles if row.role == "norm.pre_o")
    behind = dataclasses.replace(row, role="norm.post_attn", pattern="model.layers.*.other.weight")
    blueprint = dataclasses.replace(model.blueprint, roles=(*model.blueprint.roles, behind))
    assert [gap.subject for gap in choose_blocks(blueprint).gaps] == ["norm.pre_o"]
