"""Models with their own code, strange tensor names and strange keys come out as well as Llama does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scaffold_tools.blueprint.derive import derive_blueprint
from scaffold_tools.blueprint.expressions import shown
from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.blueprint.probing import probe_model
from scaffold_tools.source.inventory import Inventory, Source
from scaffold_tools.verify.lane import LaneSession

pytestmark = pytest.mark.lane
UNSEEN = Path(__file__).parent / "unseen"


def blueprint_of(lane: LaneSession, name: str, *, trusted: bool = True) -> Blueprint:
    folder = UNSEEN / name
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    inventory = Inventory(Source(str(folder), "folder", name), config, None)
    observations = probe_model(lane, inventory, trust_remote_code=trusted, model_folder=folder)
    return derive_blueprint(inventory, None, observations)


def expressions(blueprint: Blueprint) -> dict[str, str]:
    return {fact.name: shown(fact.expression) for fact in blueprint.facts}


def test_grouped_fused_heads_gains_and_window_under_strange_names(lane: LaneSession) -> None:
    blueprint = blueprint_of(lane, "plain")
    assert blueprint.gaps == ()
    found = expressions(blueprint)
    assert found["num_layers"] == "n_blocks"
    assert found["num_query_groups"] == "kv_heads"
    assert found["head_dim"] == "width * q_heads**-1"
    assert found["attention.scale"] == "width**-0.5 * q_heads**0.5"
    assert found["residual.multiplier"] == "branch_gain"
    assert found["embedding.multiplier"] == "emb_gain"
    assert found["norm.eps"] == "norm_fuzz"
    assert blueprint.value("attention.window") == [96] * 6
    assert blueprint.value("rope.pairing") == "interleaved"
    assert blueprint.value("norm.zero_centered") is True
    qkv, gate, up = (blueprint.role(role) for role in ("attn.qkv", "mlp.gate", "mlp.up"))
    assert qkv is not None and (qkv.pattern, qkv.packing) == ("backbone.h.*.mix.wqkv.weight", "grouped:q,k,v")
    assert gate is not None and gate.pattern == "backbone.h.*.ff.w1.weight"
    assert up is not None and up.pattern == "backbone.h.*.ff.w3.weight"
    assert blueprint.value("rope.sets")[0]["theta_key"] == "wave_base"


def test_parallel_layers_partial_rotation_and_a_list_a_layer(lane: LaneSession) -> None:
    blueprint = blueprint_of(lane, "parallel")
    assert blueprint.gaps == ()
    found = expressions(blueprint)
    assert found["attention.window"] == "by every_other: near reach, far None"
    assert found["logits.softcap"] == "cap"
    assert found["bias.qkv"] == "shift"
    assert found["bias.mlp"] == "True"
    assert blueprint.value("residual.parallel") is True
    assert blueprint.value("norm.kind") == "layernorm"
    assert blueprint.value("rope.dim") == 24
    assert blueprint.value("tied_embeddings") is True
    assert blueprint.role("norm.pre_mlp") is None


def test_untrusted_code_does_not_run_and_nothing_is_called_measured(lane: LaneSession) -> None:
    blueprint = blueprint_of(lane, "plain", trusted=False)
    assert {fact.certainty for fact in blueprint.facts} <= {"declared", "assumed"}
    assert any(gap.subject == "probe" for gap in blueprint.gaps)
