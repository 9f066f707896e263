"""Gated MLPs whose curve has a number of the config, with bounds on both halves, in experts and beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from scaffold_tools.blueprint.facts import Const
from scaffold_tools.verify.lane import LaneSession
from targets.blocks.attention_configs import SWISH
from targets.blocks.models import Model
from targets.blocks.pipeline import blueprint_of, verify
from targets.blueprints import key

pytestmark = pytest.mark.lane


@pytest.fixture(scope="module")
def swish(lane: LaneSession) -> Model:
    return Model(SWISH, blueprint_of(lane, SWISH))


def test_the_number_of_a_curve_is_measured_and_follows_its_key(swish: Model) -> None:
    blueprint = swish.blueprint
    assert not blueprint.gaps
    assert (blueprint.value("mlp.activation"), blueprint.value("mlp.activation.beta")) == ("swish", 1.702)
    found = {name: blueprint.fact(name) for name in ("mlp.activation.beta", "mlp.clamp")}
    assert {name: fact and fact.expression for name, fact in found.items()} == {
        "mlp.activation.beta": key("swiglu_alpha"),
        "mlp.clamp": key("swiglu_limit"),
    }


def test_layers_with_and_without_experts_get_their_logits(lane: LaneSession, tmp_path: Path, swish: Model) -> None:
    found = verify(lane, swish, tmp_path)
    assert set(found) == {"passed"}, found


@pytest.mark.parametrize("beta", [1.0, 1.702])
def test_a_fixed_number_is_caught_even_where_it_is_the_models_own(
    lane: LaneSession, tmp_path: Path, swish: Model, beta: float
) -> None:
    found = verify(lane, swish.with_fact("mlp.activation.beta", beta, Const(beta)), tmp_path)
    assert any(row.startswith("logits.max_abs") for row in found.get("failed", [])), found
